//go:build linux

package tiny

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// FD is the puppet's end of its channel.
const FD = 99

// A Puppet is a process that makes the system calls that it is told to, one
// after the other, and ends with status 0 when nobody is left to tell it.
//
// It holds a frame of memory below its stack pointer. A frame that comes by the
// channel is a list of calls of seven words each, number and arguments, then a
// negative word, then what the arguments point to. It goes back with each
// number replaced by the call's result.
type Puppet struct {
	Child *os.File // is to be the child's descriptor FD; Do closes it here

	conn  *os.File
	frame uintptr // address in the child; 0 until it has said so
	bytes []byte  // of the last frame, whose memory serves again
}

const frameSize = 1 << 16

// Argv is the command line of a puppet's program.
func Argv(tb testing.TB, args ...string) []string {
	tb.Helper()
	path := written(tb, "puppet", func(string) []byte { return programCode() })
	return append(helper.Emulate(path), args...)
}

// New makes the channel of a puppet that is to be started, and closes it when
// the test ends.
func New(tb testing.TB) *Puppet {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal("socketpair: ", err)
	}
	p := &Puppet{Child: os.NewFile(uintptr(fds[1]), "puppet's end"), conn: os.NewFile(uintptr(fds[0]), "puppet")}
	tb.Cleanup(func() {
		p.Child.Close()
		p.Close()
	})
	return p
}

// Close lets the puppet end.
func (p *Puppet) Close() { p.conn.Close() }

// Do makes the puppet do calls.
func (p *Puppet) Do(calls ...*Call) error {
	if p.frame == 0 {
		p.Child.Close() // or else nobody would see the puppet's end
		var words [2]uint64
		if err := binary.Read(p.conn, binary.LittleEndian, &words); err != nil {
			return fmt.Errorf("the puppet's first words: %w", err)
		}
		p.frame = uintptr(words[1])
	}
	frame := append(p.bytes[:0], make([]byte, (7*len(calls)+1)*8)...)
	put := func(word int, v uint64) { binary.LittleEndian.PutUint64(frame[8*word:], v) }
	put(7*len(calls), ^uint64(0))
	type back struct {
		to []byte
		at int
	}
	var backs []back
	for i, c := range calls {
		put(7*i, uint64(c.Nr))
		for j, arg := range c.Args {
			switch arg := arg.(type) {
			case int:
				put(7*i+1+j, uint64(arg))
			case string:
				put(7*i+1+j, uint64(p.frame)+uint64(len(frame)))
				frame = aligned(append(append(frame, arg...), 0))
			case []byte:
				put(7*i+1+j, uint64(p.frame)+uint64(len(frame)))
				backs = append(backs, back{arg, len(frame)})
				frame = aligned(append(frame, arg...))
			default:
				return fmt.Errorf("argument %d of call %d is a %T", j, c.Nr, arg)
			}
		}
	}
	if len(frame) > frameSize {
		return fmt.Errorf("%d calls with their data are %d bytes, of at most %d", len(calls), len(frame), frameSize)
	}
	p.bytes = frame
	if _, err := p.conn.Write(frame); err != nil {
		return fmt.Errorf("telling the puppet: %w", err)
	}
	switch n, err := p.conn.Read(frame); {
	case errors.Is(err, io.EOF):
		return errors.New("the puppet has ended")
	case err != nil || n != len(frame):
		return fmt.Errorf("the puppet's answer has %d bytes of %d: %w", n, len(frame), err)
	}
	for i, c := range calls {
		c.Result = int(binary.LittleEndian.Uint64(frame[7*8*i:]))
	}
	for _, b := range backs {
		copy(b.to, frame[b.at:])
	}
	return nil
}

func aligned(b []byte) []byte { return append(b, make([]byte, -len(b)&7)...) }

// A Call is a system call. An argument is an int, a string, of which the call
// gets the address, or a []byte, which the call may also change.
type Call struct {
	Nr     int
	Args   []any
	Result int // what the kernel returned: from -4095 to -1 it is an error
}

// Err is the call's error, or nil.
func (c *Call) Err() error {
	if c.Result < 0 && c.Result >= -4095 {
		return unix.Errno(-c.Result)
	}
	return nil
}
