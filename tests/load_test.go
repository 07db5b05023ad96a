//go:build linux

package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// The collector, timers, the netpoller, signals and threads do their work while
// children come and go, on one processor and on all.
//
// VSPAWN_LOAD=1m asks for a minute of each.
func TestLoad(t *testing.T) {
	helper.SkipEmulated(t, "way to start a program for its own machine")
	d := "300ms"
	if v := os.Getenv("VSPAWN_LOAD"); v != "" {
		d = v
	}
	program := tiny.Exit(t, 0)
	run := func(t *testing.T, attr *vspawn.Attr) {
		t.Log(strings.TrimSpace(output(t, loadHelper.Argv(d, program), attr, "exit status 0")))
	}
	t.Run("one processor", func(t *testing.T) { run(t, &vspawn.Attr{Affinity: []int{0}}) })
	t.Run("all processors", func(t *testing.T) { run(t, &vspawn.Attr{}) })
}

// A load is work that a loop does again and again.
type load struct {
	name string
	once func() error
	done int
}

// loadHelper does all kinds of work for a time, starts a program again and again
// besides, and says how often it has done each.
var loadHelper = helper.New("load", func(args []string) int {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		panic(err)
	}
	loads := []*load{
		{name: "collected", once: collect},
		{name: "slept", once: sleepBriefly},
		{name: "wrote to a pipe", once: echoer(pipeEnds())},
		{name: "wrote to a socket", once: echoer(socketEnds())},
		{name: "wrote to another thread", once: echoer(threadEnds())},
		{name: "got a signal", once: signalSelf()},
		{name: "started a program", once: startProgram(args[1])},
	}
	stop := make(chan struct{})
	time.AfterFunc(d, func() { close(stop) })
	failed := make(chan error, 2*len(loads))
	var wg sync.WaitGroup
	for _, l := range loads {
		wg.Go(func() {
			for {
				if err := l.once(); err != nil {
					failed <- fmt.Errorf("%s: %w", l.name, err)
					return
				}
				l.done++
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	wg.Wait()
	status := 0
	fmt.Printf("%d processors, %v:", runtime.NumCPU(), d)
	for _, l := range loads {
		fmt.Printf(" %s %d times;", l.name, l.done)
	}
	fmt.Println()
	close(failed)
	for err := range failed {
		fmt.Println(err)
		status = 1
	}
	return status
})

// collect builds a list, some of which is garbage, collects it, and looks at
// what is left.
func collect() error {
	type node struct {
		next *node
		data []byte
	}
	var list *node
	for i := range 500 {
		n := &node{list, bytes.Repeat([]byte{byte(i)}, 100+i)}
		if i%2 == 0 {
			list = n
		}
	}
	runtime.GC()
	i := 498
	for n := list; n != nil; n = n.next {
		if len(n.data) != 100+i || bytes.Count(n.data, []byte{byte(i)}) != len(n.data) {
			return fmt.Errorf("node %d has changed", i)
		}
		i -= 2
	}
	if i != -2 {
		return fmt.Errorf("the list ends at node %d", i+2)
	}
	return nil
}

func sleepBriefly() error {
	begin := time.Now()
	time.Sleep(time.Millisecond)
	if d := time.Since(begin); d < time.Millisecond || d > patience {
		return fmt.Errorf("a millisecond took %v", d)
	}
	return nil
}

// echoer writes to one end and reads it at the other.
func echoer(w io.Writer, r io.Reader) func() error {
	n := 0
	return func() error {
		n++
		text := fmt.Sprintf("message %d", n)
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
			return fmt.Errorf("read %q, want %q: %w", got, text, err)
		}
		return nil
	}
}

func pipeEnds() (io.Writer, io.Reader) {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	return w, r
}

// socketEnds are files that the netpoller waits for.
func socketEnds() (io.Writer, io.Reader) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
}

// threadEnds have a goroutine between them that keeps a thread for itself.
func threadEnds() (io.Writer, io.Reader) {
	fromUs, toThread := io.Pipe()
	fromThread, toUs := io.Pipe()
	go func() {
		runtime.LockOSThread()
		io.Copy(toUs, fromUs)
	}()
	return toThread, fromThread
}

// signalSelf waits for each signal that it sends.
func signalSelf() func() error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGUSR1)
	return func() error {
		if err := unix.Kill(unix.Getpid(), unix.SIGUSR1); err != nil {
			return err
		}
		select {
		case <-c:
			return nil
		case <-time.After(patience):
			return errors.New("SIGUSR1 did not come")
		}
	}
}

func startProgram(path string) func() error {
	return func() error {
		p, err := vspawn.Start(context.Background(), path, nil, nil)
		if err != nil {
			return err
		}
		state, err := p.Wait(context.Background())
		if err == nil && !strings.HasSuffix(state.String(), " 0") {
			err = fmt.Errorf("%s ended by %v", path, state)
		}
		return err
	}
}
