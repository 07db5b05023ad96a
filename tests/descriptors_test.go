//go:build linux

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// runCase starts one child, and compares what it has with what the model says. It tells
// what came of it: a "child", a "failure" or a "refusal".
func runCase(b *bench, input []byte) (outcome string, err error) {
	choose := choices(input)
	c := newCase(b, &choose)
	held, err := holds()
	if err != nil {
		return "", errors.Join(err, c.close())
	}
	want, dir, wrong := held.child(&c.attr)
	if err = c.compare(want, dir, wrong); err == nil {
		err = leftOver(held.table)
	}
	text := c.String()
	if err = errors.Join(err, c.close()); err != nil {
		return "", fmt.Errorf("%w\nchoices %#v\n%v", err, string(input), text)
	}
	switch {
	case wrong == nil:
		return "child", nil
	case wrong.refused:
		return "refusal", nil
	}
	return "failure", nil
}

// leftOver tells whether this process has other descriptors than it had. What the
// library opens to look around when a start is over is gone in a moment; a minute is
// what a leak lasts longer than.
func leftOver(had table) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		now, err := holds()
		if err != nil {
			return err
		}
		more := maps.Clone(now.table)
		maps.DeleteFunc(more, func(fd int, o open) bool { return had[fd] == o })
		for fd, o := range had {
			if _, ok := now.table[fd]; !ok && !o.cloexec { // those of the case are closed by it, or that fails
				return fmt.Errorf("the start has closed the parent's descriptor %d", fd)
			}
		}
		if len(more) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the start has left descriptors in the parent, or changed them: %v (number:close-on-exec)", more)
		}
	}
}

// holds tells what this process has open, but for what the runtime and vspawn open when
// they need it first, or close when they find the time, all close-on-exec: to poll, and
// to wait for children.
func holds() (*holder, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	h := &holder{table{}, int(min(limit.Cur, 1<<30)), map[int]bool{}}
	for fd := range scanned {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			continue
		}
		if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || strings.HasPrefix(link, "anon_inode:") {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		h.table[fd] = open{fd: fd, cloexec: flags&unix.FD_CLOEXEC != 0}
		h.dirs[fd] = st.Mode&unix.S_IFMT == unix.S_IFDIR
	}
	return h, nil
}

// compare starts the child and looks at it.
func (c *descriptorCase) compare(want table, dir int, wrong *wrong) error {
	plan, err := vspawn.Compile(c.path, []string{"sleep"}, &c.attr)
	var refused *vspawn.AttrError
	switch known := wrong != nil && wrong.refused; {
	case errors.As(err, &refused) && known && slices.Contains(wrong.fields, refused.Field):
		return nil
	case err != nil || known:
		return fmt.Errorf("Compile says %v, the model %v", err, wrong)
	}
	again, err := vspawn.Compile(c.path, []string{"sleep"}, &c.attr)
	if err != nil || plan.String() != again.String() {
		return fmt.Errorf("compiled twice, it is another plan: %v\n%s\n%s", err, plan, again)
	}
	p, err := plan.Start(noContext)
	if err != nil {
		var failed *vspawn.Error
		if errors.As(err, &failed) && wrong != nil && failed.Field == wrong.fields[0] && failed.Err == wrong.errno {
			return nil
		}
		return fmt.Errorf("Start says %v, the model %v\n%s", err, wrong, plan)
	}
	defer reap(p)
	defer p.Kill()
	if wrong != nil {
		return fmt.Errorf("there is a child, the model says %v\n%s", wrong, plan)
	}
	if err := asleep(p.Pid()); err != nil {
		return fmt.Errorf("%w\n%s", err, plan)
	}
	if err := c.compareTables(p.Pid(), want); err != nil {
		return fmt.Errorf("%w\n%s", err, plan)
	}
	return c.compareUses(p.Pid(), dir)
}

// asleep waits until the child's program sleeps, or is stopped: the kernel lets us go on
// before it closes what is close-on-exec.
func asleep(pid int) error {
	for {
		switch state := statusField(strconv.Itoa(pid), "State"); {
		case strings.HasPrefix(state, "S"), strings.HasPrefix(state, "T"):
			return nil
		case state == "", strings.HasPrefix(state, "Z"), strings.HasPrefix(state, "X"):
			return fmt.Errorf("the child has ended: its state is %q", state)
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// compareTables compares the child's descriptors with the parent's that they should be.
func (c *descriptorCase) compareTables(pid int, want table) error {
	for i, f := range c.files { // as seen by the child, if it is the same open file
		unix.Seek(number(f), int64(1000+i), unix.SEEK_SET)
	}
	child := filepath.Join("/proc", strconv.Itoa(pid))
	entries, err := os.ReadDir(filepath.Join(child, "fd"))
	if err != nil {
		return err
	}
	got, wanted := map[string]string{}, map[string]string{}
	for _, e := range entries {
		if got[e.Name()], err = fileOf(child, e.Name()); err != nil {
			return err
		}
	}
	for fd, o := range want {
		if o.file.Path == "" {
			wanted[strconv.Itoa(fd)], err = fileOf("/proc/self", strconv.Itoa(o.fd))
		} else {
			wanted[strconv.Itoa(fd)], err = opened(o.file)
		}
		if err != nil {
			return err
		}
	}
	if !maps.Equal(got, wanted) {
		return fmt.Errorf("the child has %v, want %v", got, wanted)
	}
	return nil
}

// fileOf tells one open file from another: by its device, inode, offset and flags.
func fileOf(process, fd string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(process, "fd", fd), &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: filepath.Join(process, "fd", fd), Err: err}
	}
	info, err := os.ReadFile(filepath.Join(process, "fdinfo", fd))
	// Before Linux 5.16 our own is root's for a while behind each start: see docs/security.md.
	for tries := 0; errors.Is(err, unix.EACCES) && tries < 6000; tries++ {
		time.Sleep(10 * time.Millisecond)
		info, err = os.ReadFile(filepath.Join(process, "fdinfo", fd))
	}
	if err != nil {
		return "", err
	}
	var at int64
	var flags uint64
	if _, err := fmt.Fscanf(bytes.NewReader(info), "pos: %d\nflags: %o\n", &at, &flags); err != nil {
		return "", fmt.Errorf("%q: %w", info, err)
	}
	return fmt.Sprintf("%x:%d@%d,%#o", st.Dev, st.Ino, at, flags&^unix.O_CLOEXEC), nil
}

// opened is what a file is like that the child opens.
func opened(f vspawn.File) (string, error) {
	fd, err := unix.Open(f.Path, f.Flags|unix.O_CLOEXEC, f.Mode)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: f.Path, Err: err}
	}
	defer unix.Close(fd)
	return fileOf("/proc/self", strconv.Itoa(fd))
}

// compareUses looks at what the child has used descriptors for.
func (c *descriptorCase) compareUses(pid, dir int) error {
	a, child := &c.attr, filepath.Join("/proc", strconv.Itoa(pid))
	same := func(what, got, want string) error {
		var x, y unix.Stat_t
		if err := errors.Join(unix.Stat(got, &x), unix.Stat(want, &y)); err != nil {
			return err
		}
		if x.Dev != y.Dev || x.Ino != y.Ino {
			return fmt.Errorf("the child's %s is %d, want %d, %s", what, x.Ino, y.Ino, want)
		}
		return nil
	}
	var errs []error
	if dir >= 0 {
		errs = append(errs, same("directory", child+"/cwd", fmt.Sprintf("/proc/self/fd/%d", dir)))
	}
	errs = append(errs, same("program", child+"/exe", c.bench.Program))
	if a.Setns != nil {
		errs = append(errs, same("namespace", child+"/ns/uts", c.bench.Namespace))
	}
	if a.UIDMap != nil {
		if got, want := words(child+"/uid_map"), fmt.Sprintf("0 %d 1", os.Getuid()); got != want {
			errs = append(errs, fmt.Errorf("the child's uid_map is %q, want %q", got, want))
		}
	}
	if a.ControllingTTY {
		var st unix.Stat_t
		if err := unix.Stat(c.bench.Terminal, &st); err != nil {
			return err
		}
		stat := text(child + "/stat")
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		const ttyNumber = 4 // proc_pid_stat(5), of those behind the name
		if want := strconv.FormatUint(st.Rdev, 10); fields[ttyNumber] != want {
			errs = append(errs, fmt.Errorf("the child's terminal is %s, want %s", fields[ttyNumber], want))
		}
	}
	return errors.Join(errs...)
}
