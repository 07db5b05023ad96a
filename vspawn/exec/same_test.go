//go:build linux

package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// The tests of this file's kin run the same cases with this package and with
// os/exec, each in a process of its own, and compare what they say: errors with
// their types, texts and errnos, states, output, fields, and what the child was
// given. What differs by intent is in a list, with the reason; an entry of it
// that differs no more fails the test.

// A commander is a *Cmd of either package.
type commander interface {
	Start() error
	Wait() error
	Run() error
	Output() ([]byte, error)
	CombinedOutput() ([]byte, error)
	StdinPipe() (io.WriteCloser, error)
	StdoutPipe() (io.ReadCloser, error)
	StderrPipe() (io.ReadCloser, error)
	Environ() []string
	String() string
}

// A pack is one of the two packages.
type pack struct {
	empty          func() commander
	command        func(name string, arg ...string) commander
	commandContext func(ctx context.Context, name string, arg ...string) commander
}

var packs = map[string]pack{
	"own": {
		func() commander { return new(Cmd) },
		func(name string, arg ...string) commander { return Command(name, arg...) },
		func(ctx context.Context, name string, arg ...string) commander {
			return CommandContext(ctx, name, arg...)
		},
	},
	"std": {
		func() commander { return new(osexec.Cmd) },
		func(name string, arg ...string) commander { return osexec.Command(name, arg...) },
		func(ctx context.Context, name string, arg ...string) commander {
			return osexec.CommandContext(ctx, name, arg...)
		},
	},
}

// set sets a field of either package's Cmd.
func set(c commander, field string, v any) {
	reflect.ValueOf(c).Elem().FieldByName(field).Set(reflect.ValueOf(v))
}

func fieldOf(c commander, field string) any {
	return reflect.ValueOf(c).Elem().FieldByName(field).Interface()
}

func process(c commander) *os.Process { return fieldOf(c, "Process").(*os.Process) }

func state(c commander) *os.ProcessState { return fieldOf(c, "ProcessState").(*os.ProcessState) }

// A task is a helper's work.
type task struct {
	Pack, Suite string
	Dir         string   // with what the suite has put there
	Exit        []string // a command that ends with status 7
	Zero        []string // with status 0
	Sleep       []string // one that sleeps
	Puppet      []string // one of a puppet
	UID         int      // to become before, if it is not 0
	Step        int      // of the pairs, each Step-th is tried
}

// emulated tells whether this is qemu-user.
func (t *task) emulated() bool { return len(t.Exit) > 1 }

// A suite are cases that can be run in a helper.
type suite struct {
	names []string
	pairs int // where the pairs begin; 0 is nowhere
	run   func(t *task, p pack, i int) string
}

var suites = map[string]func() suite{}

// newTask has a directory that everyone can use.
func newTask(t *testing.T, suite string) task {
	t.Helper()
	dir, err := os.MkdirTemp("", "same-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	job := task{Suite: suite, Dir: dir, Exit: helper.Emulate(tiny.Exit(t, 7)), Zero: helper.Emulate(tiny.Exit(t, 0)),
		Sleep: helper.Emulate(tiny.Sleep(t)), Puppet: tiny.Argv(t), Step: 1}
	puppet, err := os.ReadFile(job.Puppet[len(job.Puppet)-1])
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	for name, data := range map[string][]byte{
		"file":   []byte("no program"),
		"empty":  nil,
		"script": []byte("#!/not/here\n"),
		filepath.Join("root", job.Puppet[len(job.Puppet)-1]): puppet,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "private"), 0o700), os.Mkdir(filepath.Join(dir, "sub"), 0o755),
		os.Chmod(filepath.Join(dir, "file"), 0o644), os.Chmod(root, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return job
}

// A standIn is a testing.TB for a helper.
type standIn struct {
	testing.TB
	over []func()
}

func (s *standIn) Helper() {}

func (s *standIn) Fatal(v ...any) { panic(fmt.Sprint(v...)) }

func (s *standIn) Cleanup(f func()) { s.over = append(s.over, f) }

func (s *standIn) clean() {
	for _, f := range slices.Backward(s.over) {
		f()
	}
}
