package vspawn

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaceFiles are the kinds that something guards, by their file below
// /proc/PID/ns.
var namespaceFiles = map[uintptr]string{unix.CLONE_NEWUTS: "uts", unix.CLONE_NEWNS: "mnt"}

// An apartness is what a plan must see to just before it starts: that the
// namespace which the child enters, and changes, is not the parent's own.
type apartness struct {
	field string // what changes it
	flag  uintptr
	entry string // of Setns
	n     namespace
}

// apart checks that what field changes is not the parent's: that the child is
// in another namespace of the kind by then. The last that it goes to counts.
func (c *compiler) apart(field string, flag uintptr, why string) error {
	a := c.attr
	if a.Unshareflags&flag != 0 {
		return nil
	}
	for i := len(a.Setns) - 1; i >= 0; i-- {
		if n := c.namespace(i).known(); n.flags&flag != 0 {
			c.plan.apart = append(c.plan.apart, apartness{field, flag, index("Setns", i), n})
			return nil
		}
	}
	if a.Cloneflags&flag != 0 {
		return nil
	}
	return refuse(field, "needs %s in Cloneflags: %s", flagNames(uint64(flag)), why)
}

// changesNamespaces tells whether there is anything to be apart for.
func (c *compiler) changesNamespaces() bool {
	a := c.attr
	return a.Hostname != "" || a.PrivateMounts || a.Mounts != nil || a.PivotRoot != ""
}

// kindOf asks a file of /proc/PID/ns what it is (ioctl_ns(2), Linux 4.11): a
// flag of clone, or 0 for a file that does not say.
func kindOf(fd int) uintptr {
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return 0
	}
	return uintptr(kind)
}

// checkApart compares with the namespaces of this thread, which is to make the
// child, and of the main thread, if they differ. A descriptor may be another file
// by now, and a process elsewhere.
func (p *Plan) checkApart() error {
	if p.byPid != "" && bornApart() {
		return &Error{Step: "pidfd_open", Field: p.byPid, Err: unix.EINVAL, Hint: "this thread's children are born in another PID namespace, " +
			"where the number would be another process's: give a pidfd of the process as FD"}
	}
	for _, a := range p.apart {
		entered, err := a.n.inode(a.flag)
		for _, task := range []string{"thread-self", "self"} {
			var own namespaceInode
			if err == nil {
				own, err = inodeAt("/proc/" + task + "/ns/" + namespaceFiles[a.flag])
			}
			if err == nil && own == entered {
				return a.error(fmt.Errorf("it is the parent's own, which %s would change", a.field))
			}
		}
		if err != nil {
			return a.error(fmt.Errorf("can't tell whether it is the parent's own, which %s would change: %w", a.field, err))
		}
	}
	return nil
}

func (a *apartness) error(err error) error {
	return &Error{Step: "setns", Field: a.entry, Object: a.n.String(), Err: err}
}

// namespaceInode tells a namespace from others.
type namespaceInode struct{ dev, ino uint64 }

// inode is that of the namespace of one kind.
func (n namespace) inode(flag uintptr) (ino namespaceInode, err error) {
	pid := n.pid
	if pid == 0 {
		if kind := kindOf(n.fd); kind != 0 {
			var st unix.Stat_t
			if err := unix.Fstat(n.fd, &st); err != nil {
				return ino, err
			}
			return namespaceInode{uint64(st.Dev), st.Ino}, nil
		}
		if pid, err = pidOf(n.fd); err != nil {
			return ino, err
		}
	}
	return inodeAt("/proc/" + itoa(pid) + "/ns/" + namespaceFiles[flag])
}

func inodeAt(path string) (namespaceInode, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return namespaceInode{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return namespaceInode{uint64(st.Dev), st.Ino}, nil
}

// pidOf is the process that a pidfd stands for. Should its number be another's
// soon, it is dead, and there is nothing to enter by the pidfd.
func pidOf(pidfd int) (pid int, err error) {
	text, err := os.ReadFile("/proc/thread-self/fdinfo/" + itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "Pid: %d", &pid); err == nil && pid > 0 {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("descriptor %d is neither a namespace nor a pidfd of a process that lives", pidfd)
}
