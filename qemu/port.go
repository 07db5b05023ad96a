package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	vmtest "github.com/hugelgupf/vmtest/qemu"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// An event is a line of the port, as vmtest's guest package writes it.
type event struct {
	Action string `json:"hugelgupf_vmtest_guest_action"`
	Actual wire.Record
}

// The actions of an event.
const (
	actionRecord = "guestevent"
	actionDone   = "done"
)

// received is a record that has come, or why no more will: the last of all, unless
// the guest ended well.
type received struct {
	wire.Record
	err error
}

// portFile is the file of QEMU's that the port writes to: the first behind its
// standard streams.
const portFile = 3

// carries has vmtest carry what the event port writes to portFile. What comes is
// sent to events, which is closed at its end. What is no event is told in its place:
// the guest may live on for long, or end at once.
//
// vmtest's own reader, qevent, is not used: it ends the whole rig by a panic when
// a guest says twice that it is done, and reads no line longer than 64 KiB. And
// what QEMU has written to its pseudoterminal is lost when it ends, while a pipe
// keeps it.
func carries(events chan<- received) vmtest.Fn {
	return func(_ *vmtest.IDAllocator, o *vmtest.Options) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		if fd := o.AddFile(w); fd != portFile {
			return fmt.Errorf("the event port is QEMU's file %d, not %d", fd, portFile)
		}
		o.Tasks = append(o.Tasks, func(ctx context.Context, n *vmtest.Notifications) error {
			defer close(events)
			defer r.Close()
			select {
			case <-n.VMStarted:
				w.Close() // now QEMU alone has it
			case <-ctx.Done():
				w.Close()
				return nil
			}
			// Some process of QEMU's may have the other end, and outlive it.
			stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now().Add(portGrace)) })
			defer stop()
			if err := readEvents(r, events); err != nil {
				events <- received{err: err}
				io.Copy(io.Discard, r) // or QEMU waits
			}
			return nil
		})
		return nil
	}
}

// portGrace is how long what is left in the port may take to be read once QEMU has
// ended.
const portGrace = 10 * time.Second

// readEvents sends the records of all lines, up to the end or the first line that
// is none.
func readEvents(r io.Reader, events chan<- received) error {
	in := bufio.NewReaderSize(r, wire.MaxLine)
	for done := false; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded):
			return nil // of half a line tells that there is no closing record
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("the guest sent an event of more than %d bytes", wire.MaxLine)
		case err != nil:
			return fmt.Errorf("the event port: %w", err)
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("the guest sent what is no event: %w: %.100q", err, line)
		}
		switch {
		case done:
			return errors.New("the guest sent more after it had said that it is done")
		case e.Action == actionRecord:
			events <- received{Record: e.Actual}
		case e.Action == actionDone:
			done = true
		default:
			return fmt.Errorf("the guest sent what is no event: action %.100q", e.Action)
		}
	}
}
