//go:build linux

package vspawn

import (
	"bytes"
	"os"
	"os/signal"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// A child that has asked its parent, and has died since, is no SIGPIPE to a program
// that has asked for that signal.
func TestAnswerNobody(t *testing.T) {
	helper.SkipEmulated(t, "child that asks")
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, unix.SIGPIPE)
	defer signal.Stop(pipes)
	l := noLinks
	talk, err := newAnswerer(&Plan{compiled: &compiled{}}, &l, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(l.sync, []byte("x")); err != nil {
		t.Error(err)
	}
	l.close()
	talk.run(nil)
	if err := talk.finish(); err != nil {
		t.Error(err)
	}
	select {
	case s := <-pipes:
		t.Error("got ", s)
	case <-time.After(50 * time.Millisecond):
	}
}

// A child that is killed when it has asked leaves nobody to answer, and that is no
// error beside its own.
func TestAnswerOver(t *testing.T) {
	helper.SkipEmulated(t, "child that asks")
	l := noLinks
	talk, err := newAnswerer(&Plan{compiled: &compiled{}}, &l, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	talk.over.Store(true)
	talk.sock.Close()
	var b [1]byte
	if err := talk.answer(b[:]); err == nil {
		t.Error("an answer by a closed socket")
	} else if err := talk.failed("write", err); err != nil {
		t.Error(err)
	}
	if err := talk.failed("read", talk.read(b[:])); err != nil {
		t.Error(err)
	}
}

// Nor is it that its id maps can't be written any more.
func TestMapsOfTheDead(t *testing.T) {
	helper.SkipEmulated(t, "child that asks")
	child := startArgv(t, nil, exits(t, 0))
	if err := child.WaitExit(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer child.Wait(t.Context())
	l := noLinks
	maps := newMapFiles(&Attr{UIDMap: []IDMap{{Outside: os.Getuid(), Size: 1}}})
	talk, err := newAnswerer(&Plan{compiled: &compiled{maps: maps}}, &l, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if _, err := unix.Write(l.sync, []byte("x")); err != nil {
		t.Error(err)
	}
	pidfd, err := child.Pidfd()
	if err != nil {
		t.Skip("there is no pidfd: ", err)
	}
	defer unix.Close(pidfd)
	in := new(instance)
	in.prog.Pid, in.prog.Pidfd = int32(child.Pid()), int32(pidfd)
	talk.run(in)
	if err := talk.finish(); err != nil {
		t.Error(err)
	}
}

// A report that could not be read is not taken for none.
func TestReadReport(t *testing.T) {
	for _, c := range []struct {
		what    string
		written int
		closed  bool
		want    bool
	}{{"a report", int(reportSize), false, true}, {"the end", 0, false, true}, {"an error", 0, true, false}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.Write(bytes.Repeat([]byte{1}, c.written))
		w.Close()
		if c.closed {
			r.Close()
		}
		in := &instance{}
		if got := in.readReport(r); got != c.want || (in.prog.Failed != 0) != (c.written > 0) {
			t.Errorf("%s: %v, failed at %#x", c.what, got, in.prog.Failed)
		}
		r.Close()
	}
}
