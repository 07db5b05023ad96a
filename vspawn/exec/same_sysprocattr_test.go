//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/tiny"
)

// parts are what the pieces of a case put together.
type parts struct {
	Path        string
	Args, Env   []string
	Dir         string
	Stdin       *os.File
	ExtraFiles  []*os.File
	SysProcAttr syscall.SysProcAttr
}

// A piece is a part of what a command is asked for.
type piece struct {
	name string
	set  func(t *task, p *parts)
}

func sys(name string, set func(s *syscall.SysProcAttr)) piece {
	return piece{name, func(_ *task, p *parts) { set(&p.SysProcAttr) }}
}

func cloneflags(name string, flags uintptr) piece {
	return sys("Cloneflags "+name, func(s *syscall.SysProcAttr) { s.Cloneflags |= flags })
}

func unshareflags(name string, flags uintptr) piece {
	return sys("Unshareflags "+name, func(s *syscall.SysProcAttr) { s.Unshareflags |= flags })
}

func credential(name string, c syscall.Credential) piece {
	return sys("Credential "+name, func(s *syscall.SysProcAttr) { s.Credential = &c })
}

// own are the ids that the caller has.
func own(s *syscall.SysProcAttr) {
	s.Credential = &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true}
}

func cmd(name string, set func(t *task, p *parts)) piece { return piece{name, set} }

// under is a path in the task's directory.
func (t *task) under(name string) string { return filepath.Join(t.Dir, name) }

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
	sys("Setpgid long", func(s *syscall.SysProcAttr) { s.Setpgid, s.Pgid = true, 1<<32 }),

	sys("Setctty", func(s *syscall.SysProcAttr) { s.Setctty = true }),
	sys("Setctty nil", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, 7 }),
	sys("Setctty not there", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, 1000 }),
	sys("Setctty negative", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, -1 }),
	sys("Setctty long", func(s *syscall.SysProcAttr) { s.Setctty, s.Ctty = true, -1<<32 }),
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
	idMaps("long", func(s *syscall.SysProcAttr) { s.UidMappings[0].ContainerID = 1 << 32 }),
	sys("GidMappingsEnableSetgroups", func(s *syscall.SysProcAttr) { s.GidMappingsEnableSetgroups = true }),

	sys("AmbientCaps", func(s *syscall.SysProcAttr) { s.AmbientCaps = []uintptr{10, 10, 1} }),
	sys("AmbientCaps missing", func(s *syscall.SysProcAttr) { s.AmbientCaps = []uintptr{5, 63} }),
	sys("AmbientCaps empty", func(s *syscall.SysProcAttr) { s.AmbientCaps = []uintptr{} }),

	sys("CgroupFD", func(s *syscall.SysProcAttr) { s.CgroupFD = -1 }),
	sys("UseCgroupFD no cgroup", func(s *syscall.SysProcAttr) { s.UseCgroupFD = true }),
	sys("UseCgroupFD bad", func(s *syscall.SysProcAttr) { s.UseCgroupFD, s.CgroupFD = true, 9999 }),
	sys("UseCgroupFD negative", func(s *syscall.SysProcAttr) { s.UseCgroupFD, s.CgroupFD = true, -1 }),
	sys("UseCgroupFD long", func(s *syscall.SysProcAttr) { s.UseCgroupFD, s.CgroupFD = true, 1<<32 }),

	sys("PidFD", func(s *syscall.SysProcAttr) { fd := -7; s.PidFD = &fd }),
}

// alone are pieces that os/exec, or the process that does it, would not
// outlive beside others.
var alone = []piece{
	cloneflags("vfork's", syscall.CLONE_VM|syscall.CLONE_VFORK|syscall.CLONE_PIDFD),
	cloneflags("FS", syscall.CLONE_FS),
	cloneflags("exit signal", 2),
}

// sysIntents are the differences that are wanted.
var sysIntents = []intent{
	{"Chroot root", "directory", "a working directory outside of the root is a way out of it"},
	{"maps by Unshareflags + GidMappingsEnableSetgroups", "", "the parent writes the map, and may"},
	{"Cloneflags FS", "", "what the child does to itself would be done to the parent"},
	{"Cloneflags exit signal", "", "no one here could wait for the child"},
}

// sets are the fields that a piece sets, but for those that add up.
func (q *piece) sets() (fields []string) {
	p := new(parts)
	q.set(&task{}, p)
	for _, v := range []reflect.Value{reflect.ValueOf(p).Elem(), reflect.ValueOf(&p.SysProcAttr).Elem()} {
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; !v.Field(i).IsZero() && name != "SysProcAttr" && name != "Cloneflags" && name != "Unshareflags" {
				fields = append(fields, name)
			}
		}
	}
	return fields
}

func init() { suites["SysProcAttr"] = sysSuite }

// sysSuite are all pieces, and all pairs of those that don't set the same.
func sysSuite() suite {
	var s suite
	var cases [][]piece
	pieces := pieces
	if !helper.MMU() { // os/exec forks for a user namespace, and can't
		pieces = slices.DeleteFunc(slices.Clone(pieces), func(q piece) bool {
			p := new(parts)
			q.set(&task{}, p)
			return (p.SysProcAttr.Cloneflags|p.SysProcAttr.Unshareflags)&syscall.CLONE_NEWUSER != 0
		})
	}
	for _, p := range slices.Concat(pieces, alone) {
		s.names = append(s.names, p.name)
		cases = append(cases, []piece{p})
	}
	s.pairs = len(cases)
	var fields [][]string
	for i := range pieces {
		fields = append(fields, pieces[i].sets())
	}
	for i := range pieces {
		for j := range i {
			if !slices.ContainsFunc(fields[i], func(f string) bool { return slices.Contains(fields[j], f) }) {
				s.names = append(s.names, pieces[j].name+" + "+pieces[i].name)
				cases = append(cases, []piece{pieces[j], pieces[i]})
			}
		}
	}
	s.run = func(t *task, p pack, i int) string { return runPieces(t, p, cases[i]) }
	return s
}

// runPieces starts a puppet with the pieces' wishes, and says what it is given.
func runPieces(t *task, p pack, list []piece) string {
	var r report
	tb := &standIn{}
	defer tb.clean()
	puppet := tiny.New(tb)
	parts := &parts{Path: t.Puppet[0], Args: t.Puppet}
	for _, q := range list {
		q.set(t, parts)
	}
	c := p.empty()
	set(c, "Path", parts.Path)
	set(c, "Args", parts.Args)
	set(c, "Env", parts.Env)
	set(c, "Dir", parts.Dir)
	if parts.Stdin != nil {
		set(c, "Stdin", parts.Stdin)
	}
	files := extra(puppet)
	copy(files, parts.ExtraFiles)
	set(c, "ExtraFiles", files)
	s := &parts.SysProcAttr
	set(c, "SysProcAttr", s)
	err := c.Start()
	r.say("start", err)
	r.say("process", process(c) != nil)
	if s.PidFD != nil {
		r.pidFD(*s.PidFD)
	}
	if err != nil {
		return r.String()
	}
	pid := process(c).Pid
	if s.Ptrace {
		puppet.Child.Close()
		puppet.Close()
		r.ended(c, c.Wait())
		if err := unix.PtraceDetach(pid); err != nil {
			r.say("detach", err)
			unix.Kill(pid, unix.SIGKILL)
		}
		unix.Kill(pid, unix.SIGCONT)
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, 0, nil)
		r.say("detached", status, err)
		return r.String()
	}
	r.given(puppet)
	puppet.Close()
	r.ended(c, c.Wait())
	return r.String()
}

// pidFD says what became of -7.
func (r *report) pidFD(fd int) {
	if fd < 0 {
		r.say("pidfd", fd)
		return
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	r.say("pidfd", "open", flags, err)
	unix.Close(fd)
}

// Each piece of SysProcAttr, and each pair, does and fails as under os/exec. In an
// emulated machine, and under the race detector, where the 4,500 pairs take minutes,
// each 97th is tried, unless VSPAWN_PAIRS is set.
func TestSameSysProcAttr(t *testing.T) {
	helper.SkipEmulated(t, "namespaces, and no privileges")
	if os.Getenv("VSPAWN_INLINING") == "off" {
		t.Skip("these repetitions are for the binary that is built with inlining")
	}
	job := newTask(t, "SysProcAttr")
	if (os.Getenv("VSPAWN_TARGET") != "" || raced()) && os.Getenv("VSPAWN_PAIRS") == "" {
		job.Step = 97
	}
	compare(t, job, sysIntents, true)
	if os.Getuid() == 0 {
		job.UID = 61234 // no one else's
		compare(t, job, sysIntents, false)
	}
}
