//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// A descriptorCase is a child's attributes, and the parent's descriptors that they are
// about.
type descriptorCase struct {
	bench *bench
	attr  vspawn.Attr
	path  string // of the program
	files []*os.File
	slots []vspawn.Descriptor // of files, or their numbers
	named []int               // which no Syscall may change
}

// close fails if one of them was closed before.
func (c *descriptorCase) close() (err error) {
	for _, f := range c.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// newCase opens the descriptors of a case, and makes its attributes.
func newCase(b *bench, choose *choices) *descriptorCase {
	c := &descriptorCase{bench: b, path: b.Program}
	for range 1 + choose.n(8) {
		c.openSlot(choose)
	}
	c.chooseFiles(choose)
	c.chooseInherited(choose)
	c.chooseUses(choose)
	c.chooseOthers(choose)
	if choose.one(4) && (c.attr.ExecFD == nil || b.BareExec) {
		for range 1 + choose.n(3) {
			c.chooseCall(choose)
		}
	}
	return c
}

// place moves a new descriptor to the first free number from a chosen one of the bench's
// on. The kernel finds it: another thread may be opening something.
func (c *descriptorCase) place(choose *choices, fd int) int {
	first := c.bench.Numbers[choose.n(len(c.bench.Numbers))]
	if to, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, first); err == nil {
		unix.Close(fd)
		fd = to
	}
	must(unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC*choose.n(2)))
	f := os.NewFile(uintptr(fd), strconv.Itoa(fd))
	c.files = append(c.files, f)
	if choose.n(2) == 0 {
		c.slots = append(c.slots, vspawn.FD(fd))
	} else {
		c.slots = append(c.slots, f)
	}
	return fd
}

var openModes = []int{unix.O_RDONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_APPEND, unix.O_RDONLY | unix.O_NONBLOCK}

// must is for what fails only where the machine is at its end.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// openSlot opens one that Files may name. Most are of one file, so that only offset and
// flags tell them apart.
func (c *descriptorCase) openSlot(choose *choices) {
	mode := openModes[choose.n(len(openModes))]
	open := func(path string, flags int) int { return must(unix.Open(path, flags|unix.O_CLOEXEC, 0)) }
	switch choose.n(8) {
	case 0, 1, 2:
		c.place(choose, open(filepath.Join(c.bench.Dir, "a"), mode))
	case 3:
		c.place(choose, open(os.DevNull, mode))
	case 4:
		c.place(choose, open(c.bench.Dir, unix.O_RDONLY))
	case 5:
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			panic(err)
		}
		c.place(choose, fds[0])
		c.place(choose, fds[1])
	case 6:
		c.place(choose, must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)))
	case 7: // one file by two numbers
		fd := open(filepath.Join(c.bench.Dir, "b"), mode)
		c.place(choose, must(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)))
		c.place(choose, fd)
	}
}

func (c *descriptorCase) slot(choose *choices) vspawn.Descriptor {
	return c.slots[choose.n(len(c.slots))]
}

// target is a number for the child.
func (c *descriptorCase) target(choose *choices) int {
	switch choose.n(3) {
	case 0:
		return choose.n(7)
	case 1:
		return number(c.slot(choose))
	}
	return c.bench.Numbers[choose.n(len(c.bench.Numbers))]
}

func (c *descriptorCase) chooseFiles(choose *choices) {
	n := choose.n(8)
	if n == 0 {
		return
	}
	c.attr.Files = []vspawn.File{}
	seen := map[int]bool{}
	for range n - 1 {
		f := vspawn.File{Child: c.target(choose)}
		switch choose.n(8) {
		case 6, 7:
			f.Path = []string{filepath.Join(c.bench.Dir, "a"), filepath.Join(c.bench.Dir, "sub", "a"), "/dev/null"}[choose.n(3)]
			f.Flags = openModes[choose.n(len(openModes))]
		default:
			f.Parent = c.slot(choose)
		}
		switch choose.n(64) {
		case 61:
			f.Child = -1 - choose.n(3)
		case 62:
			f.Parent, f.Path = vspawn.FD(900+choose.n(3)), ""
		case 63:
			f.Parent, f.Path = nil, ""
		default:
			if seen[f.Child] && choose.n(16) != 0 {
				continue
			}
		}
		seen[f.Child] = true
		c.attr.Files = append(c.attr.Files, f)
	}
}

func (c *descriptorCase) chooseInherited(choose *choices) {
	if c.attr.InheritFiles = choose.one(3); !c.attr.InheritFiles && choose.n(32) != 31 {
		return
	}
	for range choose.n(3) {
		r := vspawn.Range{First: c.target(choose)}
		switch choose.n(12) {
		case 0, 1, 2, 3:
			r.NoEnd = true
		case 11:
			r.Last = r.First - 1
		default:
			r.Last = r.First + choose.n(30)
		}
		c.attr.CloseRanges = append(c.attr.CloseRanges, r)
	}
}

// chooseUses has the child use descriptors on its way.
func (c *descriptorCase) chooseUses(choose *choices) {
	a := &c.attr
	use := func(path string, flags int) vspawn.Descriptor {
		c.place(choose, must(unix.Open(path, flags|unix.O_CLOEXEC, 0)))
		d := c.slots[len(c.slots)-1]
		c.named = append(c.named, number(d))
		return d
	}
	if choose.one(4) {
		a.DirFD = use(filepath.Join(c.bench.Dir, "sub"), unix.O_RDONLY)
	}
	if choose.one(32) {
		a.DirFD = c.slot(choose)
		c.named = append(c.named, number(a.DirFD))
	}
	if choose.one(4) {
		a.ExecFD, c.path = use(c.bench.Program, unix.O_RDONLY), ""
	}
	if choose.one(6) && c.bench.Terminal != "" {
		a.TTY, a.ControllingTTY, a.Setsid = use(c.bench.Terminal, unix.O_RDWR|unix.O_NOCTTY), true, !choose.one(16)
	}
	if choose.one(6) && c.bench.Namespace != "" && (a.ExecFD == nil || c.bench.BareExec) {
		a.Setns = []vspawn.Namespace{{FD: use(c.bench.Namespace, unix.O_RDONLY), Flags: unix.CLONE_NEWUTS}}
	}
	if choose.one(6) && c.bench.Users {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UIDMap = ownID(os.Getuid())
	}
}

// chooseOthers has attributes that open descriptors of their own on the way.
func (c *descriptorCase) chooseOthers(choose *choices) {
	a := &c.attr
	if choose.one(6) {
		a.Rlimits = []vspawn.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 10, Hard: 10}}
	}
	if choose.one(8) {
		a.OOMScoreAdj = vspawn.Ptr(1000)
	}
	if choose.one(8) {
		a.StartStopped = true
	}
	if choose.one(8) && c.bench.PIDs {
		a.Cloneflags |= unix.CLONE_NEWPID
		a.Pdeathsig = unix.SIGKILL
	}
	if choose.one(8) && c.bench.Landlock {
		a.NoNewPrivs = true
		a.Landlock = &vspawn.Landlock{FS: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK,
			Paths: []vspawn.LandlockPath{{Path: c.bench.Dir, Allow: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK}}}
	}
}

// above is the first number above all that the case has named yet, where the library
// has its own.
func (c *descriptorCase) above() (fd int) {
	for _, d := range c.slots {
		fd = max(fd, number(d)+1)
	}
	for _, f := range c.attr.Files {
		fd = max(fd, f.Child+1)
	}
	return fd
}

func (c *descriptorCase) chooseCall(choose *choices) {
	s := vspawn.Syscall{Before: earlyCalls[choose.n(len(earlyCalls))], Tolerate: choose.one(4)}
	from, to := number(c.slot(choose)), c.target(choose)
	if choose.one(3) {
		to = c.above() + choose.n(2)
	}
	if choose.one(3) { // on what the child's program is to have
		if len(c.attr.Files) == 0 {
			return
		}
		s.Before, from, to = lateCalls, c.attr.Files[choose.n(len(c.attr.Files))].Child, 70+choose.n(5)
	}
	changes := func(fd int) bool {
		for _, n := range c.named {
			if n == fd {
				return true
			}
		}
		return fd < 0
	}
	switch choose.n(3) {
	case 0:
		s.Name, s.Nr, s.Args = "dup3", unix.SYS_DUP3, [6]uintptr{uintptr(from), uintptr(to), uintptr(unix.O_CLOEXEC * choose.n(2))}
		if changes(to) || from < 0 {
			return
		}
	case 1:
		s.Name, s.Nr, s.Args = "fcntl", unix.SYS_FCNTL, [6]uintptr{uintptr(from), unix.F_SETFD, uintptr(choose.n(2))}
	case 2:
		s.Name, s.Nr, s.Args = "close", unix.SYS_CLOSE, [6]uintptr{uintptr(from)}
	}
	if s.Nr != unix.SYS_DUP3 && changes(from) {
		return
	}
	c.attr.Syscalls = append(c.attr.Syscalls, s)
}

// String is the case for who looks into a failure.
func (c *descriptorCase) String() string {
	a := c.attr
	text := "Files"
	for _, f := range a.Files {
		if f.Path == "" {
			text += fmt.Sprintf(" %d=%d", f.Child, number(f.Parent))
		} else {
			text += fmt.Sprintf(" %d=%s(%#o)", f.Child, f.Path, f.Flags)
		}
	}
	a.Files = nil
	text += "\nopen"
	for _, f := range c.files {
		text += " " + f.Name() + "=" + must(os.Readlink("/proc/self/fd/"+f.Name()))
	}
	return fmt.Sprintf("%s\n%+v", text, a)
}
