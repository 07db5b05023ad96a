//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// gather is how long output is gathered into one event after another has gone
// out. Each event costs a switch to this process and one to QEMU, and a test
// writes several lines: an event for each took a tenth of a guest's time. What is
// being gathered when the kernel panics is lost.
const gather = 50 * time.Millisecond

// An agent runs one plan and reports it.
type agent struct {
	emit func(wire.Record) error
	plan wire.Plan
}

func (a *agent) run() error {
	boot, err := bootRecord()
	if err != nil {
		return err
	}
	if err := a.send(boot); err != nil {
		return err
	}
	if a.plan, err = readPlan(); err != nil {
		return err
	}
	shard, shards, err := wire.ParseShard(os.Getenv(wire.ShardEnv))
	if err != nil {
		return err
	}
	sel, err := wire.NewSelector(a.plan.Run, shard, shards)
	if err != nil {
		return err
	}
	// All lists come first, so that the host knows how many tests there will be.
	chosen := make([][]string, len(a.plan.Binaries))
	for i, b := range a.plan.Binaries {
		all, err := a.list(b)
		if err != nil {
			return err
		}
		if err := a.send(wire.Record{Kind: wire.List, Binary: b.Name, Tests: all}); err != nil {
			return err
		}
		chosen[i] = sel.ChooseOf(&b, all)
	}
	ran := 0
	for i, b := range a.plan.Binaries {
		if len(chosen[i]) == 0 {
			continue
		}
		if err := a.test(b, sel.Pattern(chosen[i])); err != nil {
			return err
		}
		ran++
	}
	return a.send(wire.Record{Kind: wire.Done, Ran: ran})
}

// send emits a record, in several if it is too long for one.
func (a *agent) send(r wire.Record) error {
	for _, part := range wire.Fit(r) {
		if err := a.emit(part); err != nil {
			return err
		}
	}
	return nil
}

func bootRecord() (wire.Record, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return wire.Record{}, fmt.Errorf("uname: %w", err)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return wire.Record{}, fmt.Errorf("clock_gettime: %w", err)
	}
	return wire.Record{
		Kind:   wire.Boot,
		Kernel: unix.ByteSliceToString(uts.Release[:]),
		Uptime: time.Duration(ts.Nano()),
	}, nil
}

// list asks a binary for the names of its tests.
func (a *agent) list(b wire.Binary) ([]string, error) {
	var out strings.Builder
	p, err := start(b, a.env(b), []string{"-test.list=."})
	if err != nil {
		return nil, err
	}
	end, err := p.wait(a.plan.Idle, func(data []byte) error {
		out.Write(data)
		return nil
	}, func() error { return nil })
	if err != nil {
		return nil, err
	}
	if end.status != "" {
		return nil, fmt.Errorf("listing the tests of %s: %s\n%s", b.Name, end.status, out.String())
	}
	names := wire.TestNames(out.String())
	slices.Sort(names) // the host chooses from them too, whatever their order
	return names, nil
}

// test runs the tests of a binary that match pattern.
func (a *agent) test(b wire.Binary, pattern string) error {
	if err := a.send(wire.Record{Kind: wire.Start, Binary: b.Name}); err != nil {
		return err
	}
	// The idle time takes the place of -test.timeout, which bounds the whole
	// binary and so depends on how fast the machine is.
	args := append([]string{"-test.v=test2json", "-test.timeout=0", "-test.run=" + pattern}, b.Args...)
	p, err := start(b, a.env(b), args)
	if err != nil {
		return err
	}
	end, err := p.wait(a.plan.Idle, func(data []byte) error {
		err := a.send(wire.Record{Kind: wire.Output, Binary: b.Name, Data: data})
		time.Sleep(gather)
		return err
	}, func() error {
		return a.send(wire.Record{Kind: wire.Hung, Binary: b.Name, Status: a.plan.Idle.String()})
	})
	if err != nil {
		return err
	}
	return a.send(wire.Record{Kind: wire.End, Binary: b.Name, Status: end.status, Leaked: end.leaked})
}

func (a *agent) env(b wire.Binary) []string {
	// Of two alike the first counts.
	return slices.Concat(b.Env, []string{
		"PATH=/bin",
		"HOME=/",
		"USER=root",
		"TMPDIR=/tmp",
		"VSPAWN_TARGET=" + a.plan.Target, // tells a test that it runs in a guest
	}, a.plan.Env)
}

// start starts a binary in a session of its own: signals that tests send to
// their process group must not reach PID 1.
func start(b wire.Binary, env, args []string) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	p, err := os.StartProcess(b.Path, append([]string{b.Path}, args...), &os.ProcAttr{
		Dir:   b.Dir,
		Env:   env,
		Files: []*os.File{null, w, w},
		Sys:   &unix.SysProcAttr{Setsid: true},
	})
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("starting %s: %w", b.Path, err)
	}
	return &process{Process: p, out: r}, nil
}
