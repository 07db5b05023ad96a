//go:build linux

package vspawn

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// withPoller gives those who wait a poller of their own, which stays, like any.
func withPoller(t *testing.T) {
	t.Helper()
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	if !f.Pidfd {
		t.Skip("there is no pidfd (Linux 5.4)")
	}
	was := ends
	ends = new(poller)
	t.Cleanup(func() { ends = was })
}

// Where the runtime's poller does not take the epoll instance, waits go on, by a
// thread.
func TestPollerWithoutRuntime(t *testing.T) {
	withPoller(t)
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := ends.start(os.NewFile(uintptr(fd), "epoll"), fd); err != nil { // blocking, so the runtime will not have it
		t.Fatal(err)
	}
	for range 2 {
		p := startSleep(t, nil)
		ended, err := p.watch()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		<-ended
		if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
			t.Error(s, err)
		}
	}
}

// A wait that finds no descriptor left for the poller says so. The next one,
// which finds one, waits.
func TestPollerForWant(t *testing.T) {
	withPoller(t)
	p := startSleep(t, nil)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := p.watch()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("got %v, want EMFILE", err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
		t.Error(s, err)
	}
}
