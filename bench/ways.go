package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// A way starts a child that does nothing, and waits for it.
type way struct {
	name string
	once func() error
	many func(n int) (time.Duration, error) // by a process of its own, which measures itself
}

// The names that other files ask for.
const (
	base     = "C vfork"
	plan     = "vspawn Plan"
	ours     = "vspawn/exec Run"
	theirs   = "os/exec Run"
	forkExec = "syscall.ForkExec"
)

// An environment is what the goals measure in.
type environment struct {
	ctx     context.Context
	rounds  int
	child   string // ends at once
	sleep   string // does not
	ways    []way
	missing []string
	dir     string
	closers []func()
}

func newEnvironment(ctx context.Context, rounds int) (e *environment, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	e = &environment{ctx: ctx, rounds: rounds, dir: dir, child: filepath.Join(dir, "exit"), sleep: filepath.Join(dir, "sleep")}
	if err := tiny.WritePrograms(e.child, e.sleep); err != nil {
		e.close()
		return nil, err
	}
	if e.ways, err = goWays(ctx, e.child); err != nil {
		e.close()
		return nil, err
	}
	ofC := cWays(e.child)
	e.ways = append(e.ways, ofC...)
	if ofC == nil {
		e.missing = append(e.missing, "no C: built without cgo, so that there is no ratio to its vfork")
	}
	for _, add := range []func() error{e.addRust, e.addPython} {
		if err := add(); err != nil {
			e.missing = append(e.missing, err.Error())
		}
	}
	return e, nil
}

func (e *environment) close() {
	for _, f := range e.closers {
		f()
	}
	os.RemoveAll(e.dir)
}

// named are ways by their names, if they are there.
func (e *environment) named(names ...string) (list []way) {
	for _, w := range e.ways {
		if slices.Contains(names, w.name) {
			list = append(list, w)
		}
	}
	return list
}

func goWays(ctx context.Context, child string) ([]way, error) {
	argv := []string{child}
	compiled, err := vspawn.Compile(child, argv, nil)
	if err != nil {
		return nil, err
	}
	wait := func(p *vspawn.Process, err error) error {
		if err == nil {
			_, err = p.Wait(ctx)
		}
		return err
	}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	return []way{
		{name: plan, once: func() error { return wait(compiled.Start(ctx)) }},
		{name: "vspawn Start", once: func() error { return wait(vspawn.Start(ctx, child, argv, nil)) }},
		{name: "vspawn Run", once: func() error { _, err := compiled.Run(ctx); return err }},
		{name: ours, once: func() error {
			c := exec.Command(child)
			c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
			return c.Run()
		}},
		{name: theirs, once: func() error {
			c := osexec.Command(child)
			c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
			return c.Run()
		}},
		{name: "os.StartProcess", once: func() error {
			p, err := os.StartProcess(child, argv, &os.ProcAttr{Files: files})
			if err == nil {
				_, err = p.Wait()
			}
			return err
		}},
		{name: forkExec, once: func() error {
			pid, err := syscall.ForkExec(child, argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
			if err == nil {
				_, err = syscall.Wait4(pid, nil, 0, nil)
			}
			return err
		}},
	}, nil
}

const rustSource = `use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() {
    let path = std::env::args().nth(1).unwrap();
    for line in std::io::stdin().lock().lines() {
        let n: u32 = line.unwrap().parse().unwrap();
        let begin = Instant::now();
        for _ in 0..n {
            assert!(Command::new(&path).stdin(Stdio::inherit()).status().unwrap().success());
        }
        println!("{}", begin.elapsed().as_nanos());
    }
}
`

const pythonSource = `import subprocess, sys, time
for line in sys.stdin:
    begin = time.monotonic_ns()
    for _ in range(int(line)):
        subprocess.run([sys.argv[1]], check=True, close_fds=False)
    print(time.monotonic_ns() - begin, flush=True)
`

func (e *environment) addRust() error {
	rustc, err := osexec.LookPath("rustc")
	if err != nil {
		return fmt.Errorf("no Rust std::process: %w", err)
	}
	source, bin := filepath.Join(e.dir, "peer.rs"), filepath.Join(e.dir, "rust")
	if err := os.WriteFile(source, []byte(rustSource), 0o666); err != nil {
		return err
	}
	if out, err := osexec.CommandContext(e.ctx, rustc, "-O", "-o", bin, source).CombinedOutput(); err != nil {
		return fmt.Errorf("no Rust std::process: %w: %s", err, out)
	}
	return e.addLoop("Rust std::process", bin, e.child)
}

func (e *environment) addPython() error {
	python, err := osexec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("no CPython subprocess: %w", err)
	}
	return e.addLoop("CPython subprocess", python, "-c", pythonSource, e.child)
}

// addLoop adds a way of another language: a program that reads how often to start the child,
// and answers the nanoseconds that it took.
func (e *environment) addLoop(name, path string, args ...string) error {
	cmd := osexec.CommandContext(e.ctx, path, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	e.closers = append(e.closers, func() { in.Close(); cmd.Wait() })
	answers := bufio.NewReader(out)
	w := way{name: name, many: func(n int) (d time.Duration, err error) {
		if _, err = fmt.Fprintln(in, n); err == nil {
			_, err = fmt.Fscan(answers, &d)
		}
		if err == io.EOF {
			err = errors.New("it has ended")
		}
		return d, err
	}}
	if _, err := w.many(1); err != nil { // a shim for a version that is not there, say
		return fmt.Errorf("no %s: %w", name, err)
	}
	e.ways = append(e.ways, w)
	return nil
}

// machine says what was measured on.
func machine() map[string]string {
	var u unix.Utsname
	unix.Uname(&u)
	kernel, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-") // what follows names who has built it
	m := map[string]string{"Go": runtime.Version(), "Linux": kernel, "processors": fmt.Sprint(runtime.NumCPU()),
		"architecture": unix.ByteSliceToString(u.Machine[:])}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			m["processor"] = strings.TrimSpace(value)
		}
	}
	return m
}
