//go:build linux

package exec

import (
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A piece is a part of what a command is asked for.
type piece struct {
	name string
	set  func(t *task, p *parts)
}

func sys(name string, set func(s *syscall.SysProcAttr)) piece {
	return piece{name, func(_ *task, p *parts) { set(&p.SysProcAttr) }}
}

func cloneflags(name string, flags uint64) piece {
	return sys("Cloneflags "+name, func(s *syscall.SysProcAttr) { s.Cloneflags |= uintptr(flags) })
}

func unshareflags(name string, flags uint64) piece {
	return sys("Unshareflags "+name, func(s *syscall.SysProcAttr) { s.Unshareflags |= uintptr(flags) })
}

// long is a number of more than 32 bits, where an int has room for it.
func long(n int64) int { return int(n) }

func credential(name string, c syscall.Credential) piece {
	return sys("Credential "+name, func(s *syscall.SysProcAttr) { s.Credential = &c })
}

// own are the ids that the caller has.
func own(s *syscall.SysProcAttr) {
	s.Credential = &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true}
}

func cmd(name string, set func(t *task, p *parts)) piece { return piece{name, set} }

func selfMap(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
}

// maps are id maps in a new user namespace.
func idMaps(name string, set func(s *syscall.SysProcAttr)) piece {
	return sys("maps "+name, func(s *syscall.SysProcAttr) {
		s.Cloneflags |= syscall.CLONE_NEWUSER
		s.UidMappings, s.GidMappings = selfMap(os.Getuid()), selfMap(os.Getgid())
		set(s)
	})
}

// pieces are tried alone and in all pairs.
var pieces = []piece{
	cmd("none", func(*task, *parts) {}),
	cmd("Dir", func(_ *task, p *parts) { p.Dir = "/dev" }),
	cmd("Dir missing", func(_ *task, p *parts) { p.Dir = "/not/here" }),
	cmd("Dir file", func(t *task, p *parts) { p.Dir = t.under("file") }),
	cmd("Dir private", func(t *task, p *parts) { p.Dir = t.under("private") }),
	cmd("Dir NUL", func(_ *task, p *parts) { p.Dir = "/\x00" }),
	cmd("Path missing", func(_ *task, p *parts) { p.Path = "/not/here" }),
	cmd("Path no program", func(t *task, p *parts) { p.Path = t.under("file") }),
	cmd("Path NUL", func(_ *task, p *parts) { p.Path = "/\x00" }),
	cmd("Args NUL", func(_ *task, p *parts) { p.Args = []string{"a", "\x00"} }),
	cmd("Env NUL", func(_ *task, p *parts) { p.Env = []string{"A=\x00"} }),
	cmd("ExtraFiles", func(_ *task, p *parts) { p.ExtraFiles = []*os.File{nil, os.Stdin, nil, os.Stderr} }),
	cmd("ExtraFiles bad", func(_ *task, p *parts) { p.ExtraFiles = []*os.File{os.Stdin, os.NewFile(9999, "bad")} }),
	cmd("Stdin closed", func(_ *task, p *parts) {
		f, err := os.Open(os.DevNull)
		if err != nil {
			panic(err)
		}
		f.Close()
		p.Stdin = f
	}),

	sys("Chroot", func(s *syscall.SysProcAttr) { s.Chroot = "/" }),
	cmd("Chroot root", func(t *task, p *parts) { p.SysProcAttr.Chroot = t.under("root") }),
	sys("Chroot missing", func(s *syscall.SysProcAttr) { s.Chroot = "/not/here" }),
	cmd("Chroot file", func(t *task, p *parts) { p.SysProcAttr.Chroot = t.under("file") }),
	sys("Chroot NUL", func(s *syscall.SysProcAttr) { s.Chroot = "/\x00" }),

	sys("Credential self", own),
	credential("root", syscall.Credential{}),
	credential("other", syscall.Credential{Uid: 1, Gid: 2, Groups: []uint32{3, 4}}),
	sys("Credential group alone", func(s *syscall.SysProcAttr) { own(s); s.Credential.Gid = 2 }),
	credential("no user", syscall.Credential{Uid: math.MaxUint32, NoSetGroups: true}),
	credential("no group", syscall.Credential{Gid: math.MaxUint32, NoSetGroups: true}),
	credential("no such groups", syscall.Credential{Groups: []uint32{1, math.MaxUint32}}),
	credential("too many groups", syscall.Credential{Groups: make([]uint32, 65537)}),

	sys("Ptrace", func(s *syscall.SysProcAttr) { s.Ptrace = true }),
	sys("Setsid", func(s *syscall.SysProcAttr) { s.Setsid = true }),
	sys("Setpgid", func(s *syscall.SysProcAttr) { s.Setpgid = true }),
	sys("Pgid", func(s *syscall.SysProcAttr) { s.Pgid = 1 << 30 }),
	sys("Setpgid missing", func(s *syscall.SysProcAttr) { s.Setpgid, s.Pgid = true, 1<<30 }),
	sys("Setpgid negative", func(s *syscall.SysProcAttr) { s.Setpgid, s.Pgid = true, -1 }),
	sys("Setpgid parent's", func(s *syscall.SysProcAttr) { s.Setpgid, s.Pgid = true, unix.Getpgrp() }),
	sys("Setpgid long", func(s *syscall.SysProcAttr) { s.Setpgid, s.Pgid = true, long(1<<32) }),

	sys("Setctty", func(s *syscall.SysProcAttr) { s.Setctty = true }),
	sys("Setctty nil", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, 7 }),
	sys("Setctty not there", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, 1000 }),
	sys("Setctty negative", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, -1 }),
	sys("Setctty long", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, long(-1<<32) }),
	sys("Noctty", func(s *syscall.SysProcAttr) { s.Noctty = true }),
	sys("Foreground", func(s *syscall.SysProcAttr) { s.Foreground = true }),
	sys("Foreground bad", func(s *syscall.SysProcAttr) { s.Foreground, s.Ctty = true, 9999 }),
	sys("Foreground negative", func(s *syscall.SysProcAttr) { s.Foreground, s.Ctty = true, -1 }),
	sys("Foreground missing", func(s *syscall.SysProcAttr) { s.Foreground, s.Pgid = true, 1<<30 }),

	sys("Pdeathsig", func(s *syscall.SysProcAttr) { s.Pdeathsig = syscall.SIGHUP }),
	sys("Pdeathsig 65", func(s *syscall.SysProcAttr) { s.Pdeathsig = 65 }),
	sys("Pdeathsig negative", func(s *syscall.SysProcAttr) { s.Pdeathsig = -1 }),

	cloneflags("NEWUTS", syscall.CLONE_NEWUTS),
	cloneflags("NEWNS", syscall.CLONE_NEWNS),
	cloneflags("NEWIPC", syscall.CLONE_NEWIPC),
	cloneflags("NEWUSER", syscall.CLONE_NEWUSER),
	cloneflags("NEWPID", syscall.CLONE_NEWPID),
	cloneflags("NEWCGROUP", syscall.CLONE_NEWCGROUP),
	cloneflags("NEWTIME", syscall.CLONE_NEWTIME),
	cloneflags("UNTRACED", syscall.CLONE_UNTRACED),
	cloneflags("PTRACE", syscall.CLONE_PTRACE),
	cloneflags("IO", syscall.CLONE_IO),
	cloneflags("SYSVSEM", syscall.CLONE_SYSVSEM),
	cloneflags("CHILD_SETTID", syscall.CLONE_CHILD_SETTID|syscall.CLONE_CHILD_CLEARTID),
	cloneflags("PARENT_SETTID", syscall.CLONE_PARENT_SETTID),
	cloneflags("DETACHED", syscall.CLONE_DETACHED),
	cloneflags("THREAD", syscall.CLONE_THREAD),
	cloneflags("beyond 32 bits", 1<<40),
	cloneflags("CLEAR_SIGHAND", syscall.CLONE_CLEAR_SIGHAND),

	unshareflags("NEWUTS", syscall.CLONE_NEWUTS),
	unshareflags("NEWNS", syscall.CLONE_NEWNS),
	unshareflags("NEWPID", syscall.CLONE_NEWPID),
	unshareflags("NEWTIME", syscall.CLONE_NEWTIME),
	unshareflags("NEWUSER", syscall.CLONE_NEWUSER),
	unshareflags("FS, FILES", syscall.CLONE_FS|syscall.CLONE_FILES),
	unshareflags("SYSVSEM", syscall.CLONE_SYSVSEM),
	unshareflags("THREAD", syscall.CLONE_THREAD),
	unshareflags("SIGHAND", syscall.CLONE_SIGHAND),
	unshareflags("VM", syscall.CLONE_VM),
	unshareflags("UNTRACED", syscall.CLONE_UNTRACED),
	unshareflags("beyond 32 bits", 1<<40),

	idMaps("self", func(*syscall.SysProcAttr) {}),
	idMaps("by Unshareflags", func(s *syscall.SysProcAttr) {
		s.Cloneflags, s.Unshareflags = s.Cloneflags&^syscall.CLONE_NEWUSER, s.Unshareflags|syscall.CLONE_NEWUSER
	}),
	idMaps("setgroups", func(s *syscall.SysProcAttr) { s.GidMappingsEnableSetgroups = true }),
	idMaps("of users alone", func(s *syscall.SysProcAttr) { s.GidMappings = nil }),
	idMaps("foreign", func(s *syscall.SysProcAttr) { s.UidMappings = selfMap(77) }),
	idMaps("empty", func(s *syscall.SysProcAttr) { s.UidMappings = []syscall.SysProcIDMap{} }),
	idMaps("negative", func(s *syscall.SysProcAttr) { s.UidMappings[0].HostID = -1 }),
	idMaps("of nothing", func(s *syscall.SysProcAttr) { s.GidMappings[0].Size = 0 }),
	idMaps("overlapping", func(s *syscall.SysProcAttr) { s.UidMappings = append(s.UidMappings, s.UidMappings...) }),
	idMaps("long", func(s *syscall.SysProcAttr) { s.UidMappings[0].ContainerID = long(1 << 32) }),
	sys("GidMappingsEnableSetgroups", func(s *syscall.SysProcAttr) { s.GidMappingsEnableSetgroups = true }),

	sys("AmbientCaps", func(s *syscall.SysProcAttr) { s.AmbientCaps = []uintptr{10, 10, 1} }),
	sys("AmbientCaps missing", func(s *syscall.SysProcAttr) { s.AmbientCaps = []uintptr{5, 63} }),
	sys("AmbientCaps empty", func(s *syscall.SysProcAttr) { s.AmbientCaps = []uintptr{} }),

	sys("CgroupFD", func(s *syscall.SysProcAttr) { s.CgroupFD = -1 }),
	sys("UseCgroupFD no cgroup", func(s *syscall.SysProcAttr) { s.UseCgroupFD = true }),
	sys("UseCgroupFD bad", func(s *syscall.SysProcAttr) { s.UseCgroupFD, s.CgroupFD = true, 9999 }),
	sys("UseCgroupFD negative", func(s *syscall.SysProcAttr) { s.UseCgroupFD, s.CgroupFD = true, -1 }),
	sys("UseCgroupFD long", func(s *syscall.SysProcAttr) { s.UseCgroupFD, s.CgroupFD = true, long(1<<32) }),

	sys("PidFD", func(s *syscall.SysProcAttr) { fd := -7; s.PidFD = &fd }),
}

// alone are pieces that os/exec, or the process that does it, would not
// outlive beside others.
var alone = []piece{
	cloneflags("vfork's", syscall.CLONE_VM|syscall.CLONE_VFORK|syscall.CLONE_PIDFD),
	cloneflags("FS", syscall.CLONE_FS),
	cloneflags("exit signal", 2),
}
