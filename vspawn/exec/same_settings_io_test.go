//go:build linux

package exec

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ioSettings are about its input and output.
var ioSettings = []setting{
	run("Output", func(_ *task, p pack, r *report) {
		argv := say.Argv("out", strings.Repeat("0123456789", 8000))
		out, err := p.command(argv[0], argv[1:]...).Output()
		r.say("output", string(out), err)
		c := p.command(argv[0], argv[1:]...)
		var stderr bytes.Buffer
		set(c, "Stderr", &stderr)
		out, err = c.Output()
		r.say("output", string(out), err, stderr.Len())
		out, err = p.command(argv[0], argv[1:]...).CombinedOutput()
		r.say("combined", len(out), err)
		c = p.command(argv[0], argv[1:]...)
		out, err = c.Output()
		r.say("fields", fmt.Sprintf("%T %T", fieldOf(c, "Stdout"), fieldOf(c, "Stdin")), len(out), err)
	}),
	run("Output set", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "Stdout", io.Discard)
		_, err := c.Output()
		r.say("Output", err)
		_, err = c.CombinedOutput()
		r.say("CombinedOutput", err)
		_, err = c.StdoutPipe()
		r.say("StdoutPipe", err)
	}),
	run("Stderr set", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "Stderr", io.Discard)
		_, err := c.CombinedOutput()
		r.say("CombinedOutput", err)
		_, err = c.StderrPipe()
		r.say("StderrPipe", err)
		set(c, "Stdin", broken{io.EOF})
		_, err = c.StdinPipe()
		r.say("StdinPipe", err)
		out, err := c.Output()
		r.say("Output", len(out), err)
	}),
	run("pipes too late", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		r.say("start", c.Start())
		_, err := c.StdinPipe()
		r.say("StdinPipe", err)
		_, err = c.StdoutPipe()
		r.say("StdoutPipe", err)
		_, err = c.StderrPipe()
		r.say("StderrPipe", err)
		r.ended(c, c.Wait())
	}),
	run("pipes", func(_ *task, p pack, r *report) {
		argv := cat.Argv()
		c := p.command(argv[0], argv[1:]...)
		in, err := c.StdinPipe()
		r.say("StdinPipe", err)
		_, err = c.StdinPipe()
		r.say("StdinPipe", err)
		out, err := c.StdoutPipe()
		r.say("StdoutPipe", err)
		r.say("start", c.Start())
		io.WriteString(in, "hello")
		r.say("close", in.Close(), in.Close())
		text, err := io.ReadAll(out)
		r.say("read", string(text), err)
		r.ended(c, c.Wait())
		_, err = out.Read(make([]byte, 1))
		r.say("read", err)
		_, err = in.Write([]byte("x"))
		r.say("write", err)
	}),
	run("pipes of none", func(_ *task, p pack, r *report) {
		c := p.command("/not/here")
		in, _ := c.StdinPipe()
		out, _ := c.StdoutPipe()
		r.say("start", c.Start())
		_, err := in.Write([]byte("x"))
		r.say("write", err)
		_, err = out.Read(make([]byte, 1))
		r.say("read", err)
	}),
	run("copies", func(_ *task, p pack, r *report) {
		argv := cat.Argv()
		for _, stdin := range []io.Reader{strings.NewReader("hello"), broken{errBroken},
			strings.NewReader(strings.Repeat("x", 1<<20))} {
			c := p.command(argv[0], argv[1:]...)
			var out bytes.Buffer
			set(c, "Stdin", stdin)
			set(c, "Stdout", &out)
			r.say("start", c.Start())
			r.ended(c, c.Wait())
			r.say("out", out.Len())
		}
	}),
	run("copies not read", func(t *task, p pack, r *report) {
		for _, stdin := range []io.Reader{strings.NewReader(strings.Repeat("x", 1<<20)), broken{errBroken}} {
			c := p.command(t.Exit[0], t.Exit[1:]...)
			set(c, "Stdin", stdin)
			r.say("start", c.Start())
			r.ended(c, c.Wait())
		}
	}),
	run("writers", func(_ *task, p pack, r *report) {
		argv := cat.Argv()
		for _, stdout := range []io.Writer{broken{errBroken}, slice{io.Discard}} {
			c := p.command(argv[0], argv[1:]...)
			set(c, "Stdin", strings.NewReader("hello"))
			set(c, "Stdout", stdout)
			set(c, "Stderr", stdout)
			r.say("start", c.Start())
			r.ended(c, c.Wait())
		}
	}),
	run("no descriptors", func(t *task, p pack, r *report) {
		var was unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &was)
		low := was
		low.Cur = 3 // 0, 1 and 2 are open
		unix.Setrlimit(unix.RLIMIT_NOFILE, &low)
		defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		c := p.command(t.Exit[0], t.Exit[1:]...)
		r.say("run", c.Run())
		_, err := p.command(t.Exit[0]).StdinPipe()
		r.say("pipe", err)
		c = p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "Stdin", strings.NewReader(""))
		r.say("run", c.Run())
	}),
	run("ExtraFiles at the limit", func(t *task, p pack, r *report) {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 300)
		if err != nil {
			panic(err)
		}
		last := os.NewFile(uintptr(fd), "last")
		defer last.Close()
		var was unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &was)
		low := was
		low.Cur = uint64(fd + 1)
		unix.Setrlimit(unix.RLIMIT_NOFILE, &low)
		defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "ExtraFiles", []*os.File{last})
		r.say("run", c.Run())
	}),
	run("Pdeathsig", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "SysProcAttr", &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
		r.say("run", c.Run())
	}),
}
