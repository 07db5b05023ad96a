//go:build linux

package exec

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
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

// under is a path in the task's directory.
func (t *task) under(name string) string { return filepath.Join(t.Dir, name) }

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
