//go:build linux

package exec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// explain is all of an error that a program can tell. A type that no other
// package can name is none.
func explain(err error) string {
	if err == nil {
		return "nil"
	}
	text := fmt.Sprintf("%q", err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch v := e.(type) {
		case syscall.Errno:
			text += fmt.Sprintf(" errno %d", int(v))
		case *fs.PathError:
			text += fmt.Sprintf(" %T{%q, %q}", v, v.Op, v.Path)
		case *ExitError:
			text += fmt.Sprintf(" %T{%v, %q}", v, v.ProcessState, v.Stderr)
		default:
			if _, name, _ := strings.Cut(fmt.Sprintf("%T", e), "."); name != "" && name[0] >= 'A' && name[0] <= 'Z' {
				text += fmt.Sprintf(" %T", e)
			}
		}
	}
	for _, target := range []error{fs.ErrNotExist, fs.ErrPermission, os.ErrProcessDone, ErrWaitDelay, ErrDot, ErrNotFound,
		context.Canceled} {
		if errors.Is(err, target) {
			text += fmt.Sprintf(" is %q", target)
		}
	}
	return text
}

// A report is what one package says of one case.
type report struct{ strings.Builder }

func (r *report) say(label string, values ...any) {
	r.WriteString(label + ":")
	for _, v := range values {
		if err, ok := v.(error); ok {
			v = explain(err)
		}
		fmt.Fprintf(r, " %v", v)
	}
	r.WriteString("\n")
}

// ended says what is left of a command that has ended.
func (r *report) ended(c commander, err error) {
	r.say("wait", err)
	if s := state(c); s == nil {
		r.say("state", nil)
	} else {
		r.say("state", s, s.ExitCode(), s.Exited(), s.Success(), s.Sys(), "of the process", s.Pid() == process(c).Pid, "usage", s.SysUsage() != nil)
	}
}

// given says what a puppet has been given.
func (r *report) given(p *tiny.Puppet) {
	call := func(nr int, args ...any) *tiny.Call { return &tiny.Call{Nr: nr, Args: args} }
	var dir [256]byte
	pid, sid, pgid := call(unix.SYS_GETPID), call(unix.SYS_GETSID, 0), call(unix.SYS_GETPGID, 0)
	cwd := call(unix.SYS_GETCWD, dir[:], len(dir))
	var pdeathsig [4]byte
	signal := call(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, pdeathsig[:])
	status := call(unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/status", unix.O_RDONLY)
	calls := []*tiny.Call{pid, sid, pgid, cwd, signal}
	spaces := []string{"mnt", "uts", "user", "pid_for_children", "ipc", "cgroup", "time_for_children"}
	links := map[string][]byte{}
	for _, ns := range spaces {
		links[ns] = make([]byte, 64)
		calls = append(calls, call(unix.SYS_READLINKAT, unix.AT_FDCWD, "/proc/self/ns/"+ns, links[ns], 64))
	}
	fds := map[int]*tiny.Call{}
	for _, fd := range []int{0, 1, 2, 3, 4, 5, 6, 177} {
		fds[fd] = call(unix.SYS_FCNTL, fd, unix.F_GETFD)
		calls = append(calls, fds[fd])
	}
	if err := p.Do(append(calls, status)...); err != nil {
		r.say("puppet", err)
		return
	}
	whose := func(id int) string {
		return map[int]string{pid.Result: "own", unix.Getpgrp(): "the parent's", 0: "outside"}[id]
	}
	r.say("pid 1", pid.Result == 1, "session", whose(sid.Result), "group", whose(pgid.Result), "pdeathsig", pdeathsig)
	r.say("directory", unix.ByteSliceToString(dir[:]))
	for _, ns := range spaces {
		mine, _ := os.Readlink("/proc/self/ns/" + ns)
		if unix.ByteSliceToString(links[ns]) != mine {
			r.say("new namespace", ns)
		}
	}
	for _, fd := range slices.Sorted(maps.Keys(fds)) {
		if fds[fd].Err() == nil {
			r.say("open", fd, fds[fd].Result)
		}
	}
	r.status(p, status)
}

// status says what /proc has of the puppet.
func (r *report) status(p *tiny.Puppet, status *tiny.Call) {
	if err := status.Err(); err != nil {
		r.say("status", err)
		return
	}
	buf := make([]byte, 8192)
	if err := p.Do(&tiny.Call{Nr: unix.SYS_READ, Args: []any{status.Result, buf, len(buf)}}); err != nil {
		r.say("puppet", err)
		return
	}
	for line := range strings.Lines(unix.ByteSliceToString(buf)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case name == "NSpid":
			r.say("depth", len(strings.Fields(value)))
		case slices.Contains([]string{"Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "TracerPid", "ShdPnd"}, name),
			strings.HasPrefix(name, "Cap"), strings.HasPrefix(name, "Sig") && name != "SigQ":
			r.say(name, strings.TrimSpace(value))
		}
	}
}
