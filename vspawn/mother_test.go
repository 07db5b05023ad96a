//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// A mother has children that die. It says of which before it does, and at last
// that it lives.
const noSuchWay = "there is no such way"

var mother = helper.New("mother", func(args []string) int {
	mode, path, only := args[0], args[1], args[2]
	if mode == "with a flag of 2" { // which comes with new credentials
		runtime.LockOSThread()
		unix.RawSyscall(unix.SYS_SETFSUID, 1, 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
		if flag := dumpable.get(); flag != 2 {
			panic(flag)
		}
	}
	if mode == "with a flag of 0" {
		dumpable.set(0)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		panic(err)
	}
	found, err := probe()
	if err != nil {
		panic(err)
	}
	as := *found
	switch mode {
	case "without the answer":
		as.LoneCoreDump = true
	case "with the answer":
		as.LoneCoreDump = false // also where it is not needed
	}
	features.found.Store(&as)
	was := dumpable.get()
	met := only == ""
	for _, d := range deadlies() {
		if only != "" && d.name != only || only == "" && d.root {
			continue
		}
		met = true
		fmt.Println(d.name)
		if err := d.run(path); err != nil {
			fmt.Println(err)
			return 1
		}
		want := was
		if was == 2 && !as.LoneCoreDump {
			want = 0 // 2 can't be asked for
		}
		for end := time.Now().Add(time.Minute); dumpable.get() != want && time.Now().Before(end); {
			dumpable.hasten() // it comes when no child of another's can be on its way
			time.Sleep(time.Millisecond)
		}
		if now := dumpable.get(); now != want {
			fmt.Printf("the dumpable flag was %d, and is %d\n", was, now)
			return 1
		}
	}
	if !met {
		fmt.Println(noSuchWay)
		return 2
	}
	fmt.Println("lives")
	return 0
})

// run has a child die, and checks that it did.
func (d *deadly) run(path string) error {
	if d.path != "" {
		path = d.path
	}
	done := make(chan struct{})
	if d.gate == nil {
		close(done)
	} else {
		list, meet := d.gate.put()
		if d.attr == nil {
			d.attr = &Attr{}
		}
		d.attr.Syscalls = list
		go func() { defer close(done); meet() }()
	}
	p, err := Start(context.Background(), path, nil, d.attr)
	var failed *Error
	if errors.As(err, &failed) && d.failed {
		<-done
		return nil
	}
	if err != nil {
		return err
	}
	<-done
	s, err := p.Wait(context.Background())
	if err == nil && !(s.Signaled() && slices.Contains(coreSignals, s.Signal())) {
		return fmt.Errorf("the child ended by %v", s)
	}
	return err
}

// runMother gives how a mother ended, and what it said last.
func runMother(t *testing.T, mode, only string) (last string, end error) {
	t.Helper()
	cmd := mother.Command(mode, tiny.Exit(t, 0), only)
	out, w := pipe()
	defer out.Close()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	said, _ := io.ReadAll(out)
	end = cmd.Wait()
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	t.Logf("%s, %s: %d lines, the last %q, end %v", mode, only, len(lines), lines[max(0, len(lines)-2):], end)
	return lines[len(lines)-1], end
}
