package vspawn_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// A plan can be looked at before anything runs: what the child will do, in the order in
// which it does it. A change of user drops the groups.
func ExampleCompile() {
	plan, err := vspawn.Compile("/bin/id", []string{"id", "-u"}, &vspawn.Attr{
		Env:     []string{"LANG=C"},
		Setsid:  true,
		UID:     vspawn.Ptr(1000),
		Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 64, Hard: 64}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	// Output:
	// clone3({flags=CLONE_VM|CLONE_VFORK|CLONE_PARENT_SETTID|CLONE_PIDFD|CLONE_FILES|CLONE_CLEAR_SIGHAND, exit_signal=SIGCHLD})
	// close_range(3, 4294967295, CLOSE_RANGE_UNSHARE)
	// setsid()
	// setgroups(0, [])
	// setresuid(1000, 1000, 1000)
	// prlimit64(0, RLIMIT_NOFILE, {rlim_cur=64, rlim_max=64}, NULL)
	// rt_sigprocmask(SIG_SETMASK, [inherited], NULL, 8)
	// execve("/bin/id", ["id", "-u"], /* 1 vars */)
}

// One plan, for any number of programs.
func ExamplePlan_For() {
	ctx := context.Background()
	quiet, err := vspawn.Compile("/", nil, &vspawn.Attr{
		Files: []vspawn.File{{Child: 0, Path: os.DevNull}, {Child: 1, Parent: os.Stdout}, {Child: 2, Parent: os.Stderr}},
		Nice:  vspawn.Ptr(10),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, word := range []string{"one", "two"} {
		plan, err := quiet.For("/bin/sh", []string{"sh", "-c", `echo "$0"`, word}, nil)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := plan.Run(ctx); err != nil {
			log.Fatal(err)
		}
	}
}

// A command that may take so long, and is killed then.
func ExampleRun() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state, err := vspawn.Run(ctx, "/bin/sh", []string{"sh", "-c", "exec sleep 1000"}, nil)
	fmt.Printf("%v; %v\n", state, err)
}

// What a child writes comes by a pipe.
func ExampleFile() {
	ctx := context.Background()
	r, w, err := os.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	p, err := vspawn.Start(ctx, "/bin/sh", []string{"sh", "-c", "echo hello; exit 7"}, &vspawn.Attr{
		Files: []vspawn.File{{Child: 1, Parent: w}, {Child: 2, Parent: os.Stderr}}, // and no standard input
	})
	w.Close() // the child has its own, and the reading ends when that is closed
	if err != nil {
		log.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		log.Fatal(err)
	}
	state, err := p.Wait(ctx)
	fmt.Printf("%q, %v, %v\n", out, state, err)
}

// A command with limits, and with a time after which all of its process group is
// killed: what it has started ends with it, also if it ends in time itself.
func Example_limits() {
	p, err := vspawn.Start(context.Background(), "/bin/sh", []string{"sh", "-c", "sleep 1000 & wait"}, &vspawn.Attr{
		Setsid: true, // a group of its own
		Rlimits: []vspawn.Rlimit{
			{Resource: unix.RLIMIT_CPU, Soft: 10, Hard: 11},
			{Resource: unix.RLIMIT_NOFILE, Soft: 64, Hard: 64},
			{Resource: unix.RLIMIT_CORE},
		},
		Nice:       vspawn.Ptr(10),
		IOPriority: &vspawn.IOPriority{Class: vspawn.IOPRIO_CLASS_IDLE},
		NoNewPrivs: true,
		Pdeathsig:  unix.SIGKILL, // nor does it outlive us
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	// WaitExit does not reap it: no other group can have its number yet.
	timeout := p.WaitExit(ctx)
	if err := p.SignalGroup(unix.SIGKILL); err != nil {
		log.Fatal(err)
	}
	state, err := p.Wait(context.Background())
	fmt.Printf("%v; %v, %v\n", timeout, state, err)
}

// What leaves its process group can't leave its cgroup: a time after which a command is
// killed with all that it has started, whatever that does. It needs cgroup v2, Linux
// 5.14, and the right to make a directory there.
func ExampleKillCgroup() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	path, err := os.MkdirTemp("/sys/fs/cgroup", "job-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(path)
	limit := filepath.Join(path, "memory.max")
	if err := os.WriteFile(limit, []byte("100M"), 0o644); err != nil {
		log.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer dir.Close()
	p, err := vspawn.Start(ctx, "/usr/bin/make", []string{"make", "-j8"}, &vspawn.Attr{
		Cgroup: dir, // born there: it never runs outside
	})
	if err != nil {
		log.Fatal(err)
	}
	timeout := p.WaitExit(ctx)
	if err := vspawn.KillCgroup(dir); err != nil {
		log.Fatal(err)
	}
	state, err := p.Wait(context.Background())
	fmt.Println(timeout, state, err)
}

// A supervisor that sees the end of all that its children leave behind. Its main
// function has the main thread to itself: the program has
//
//	func init() { runtime.LockOSThread() }
func ExampleReaper() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := vspawn.Subreaper(); err != nil { // as PID 1 it is one
		log.Fatal(err)
	}
	plan, err := vspawn.Compile("/usr/sbin/daemon", nil, &vspawn.Attr{Setsid: true})
	if err != nil {
		log.Fatal(err)
	}
	go func() { // not on the main thread
		for ctx.Err() == nil {
			p, err := plan.Start(ctx)
			if err != nil {
				log.Print(err)
				stop()
				return
			}
			state, err := p.Wait(ctx)
			log.Print("daemon: ", state, err)
			time.Sleep(time.Second) // not again and again at once
		}
	}()
	r := &vspawn.Reaper{Orphan: func(s *vspawn.State) { log.Printf("orphan %d: %v", s.Pid(), s) }}
	log.Print(r.Run(ctx))
}

// A program that was just written. Another start of this process may have a copy of the
// descriptor that wrote it, for a moment: where os/exec gives "text file busy", Start tries
// again.
func Example_writeThenExec() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho written\n"), 0o755); err != nil {
		log.Fatal(err)
	}
	p, err := vspawn.Start(ctx, script, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	state, err := p.Wait(ctx)
	fmt.Println(state, err)
}

// A program that is in memory, and in no directory.
func Example_memfd() {
	ctx := context.Background()
	program, err := os.ReadFile("/bin/sh") // or from the network, or embedded
	if err != nil {
		log.Fatal(err)
	}
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		log.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "program")
	defer file.Close()
	if _, err := file.Write(program); err != nil {
		log.Fatal(err)
	}
	p, err := vspawn.Start(ctx, "", []string{"program", "-c", "exit 3"}, &vspawn.Attr{ExecFD: file})
	if err != nil {
		log.Fatal(err)
	}
	state, err := p.Wait(ctx)
	fmt.Println(state, err)
}
