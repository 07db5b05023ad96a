//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// shortOfProcesses starts a program, the first time and later, while its user may have
// no other process.
var shortOfProcesses = helper.New("short of processes", func(args []string) int {
	helper.ManyThreads() // for a new one, that it needs, the runtime would end the process
	for range 2 {
		limit := withLimit(unix.RLIMIT_NPROC, 1)
		_, err := vspawn.Start(noContext, args[0], nil, nil)
		limit()
		sayUnless(err, "clone", unix.EAGAIN)
		sayUnlessWhole(args[0], nil)
	}
	return 0
})

// shortOfDescriptors starts programs while it may have one descriptor more, two, and so
// on, until there are enough, the first time and later.
var shortOfDescriptors = helper.New("short of descriptors", func(args []string) int {
	if r, w, err := os.Pipe(); err == nil {
		r.Close() // the runtime's poller is there now, or it would end the process
		w.Close()
	}
	for _, attr := range []*vspawn.Attr{
		nil,
		{Pdeathsig: unix.SIGKILL, Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID},
		{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid())},
		{OOMScoreAdj: vspawn.Ptr(1000),
			Files: []vspawn.File{{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)}}},
	} {
		told, again := 0, 0 // how often there was no descriptor
		for room := 0; ; room++ {
			limit := withLimit(unix.RLIMIT_NOFILE, firstFree()+room)
			p, err := vspawn.Start(noContext, args[0], nil, attr)
			limit()
			if err == nil {
				reap(p)
				if told == 0 && again < 20 { // a look at /proc behind the last start had one when room was measured
					again, room = again+1, -1
					continue
				}
				if told == 0 {
					fmt.Printf("%+v was never short of descriptors\n", attr)
				}
				break
			}
			if errors.Is(err, unix.EMFILE) {
				told++
			}
			var e *vspawn.Error
			if errors.As(err, &e) && e.Field == "Cloneflags" && e.Err != unix.EMFILE {
				break // there are no user namespaces for us
			}
			// The child's own limit is that of before: see docs/design.md.
			short := errors.Is(err, unix.EMFILE) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF)
			if room > 20 || !short || e == nil {
				fmt.Printf("with room for %d: %v\n", room, err)
				break
			}
		}
		if attr == nil || attr.Cloneflags == 0 {
			sayUnlessWhole(args[0], attr)
		}
	}
	return 0
})

// shortOfFiles starts a program while the whole machine may have no other open file. It
// is told by its standard input when that is so, and when no more, and tells when it has
// looked at each.
var shortOfFiles = helper.New("short of files", func(args []string) int {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	b := make([]byte, 1)
	for range 2 {
		os.Stdin.Read(b)
		_, err := vspawn.Start(noContext, args[0], nil, nil)
		os.Stdout.Write(b)
		os.Stdin.Read(b)
		sayUnless(err, "clone", unix.ENFILE)
		sayUnlessWhole(args[0], nil)
		os.Stdout.Write(b)
	}
	return 0
})

// withLimit sets a soft limit, and gives what puts the old one back.
func withLimit(resource, soft int) (restore func()) {
	var was unix.Rlimit
	if err := unix.Getrlimit(resource, &was); err != nil {
		panic(err)
	}
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: uint64(soft), Max: was.Max}); err != nil {
		panic(err)
	}
	return func() {
		if err := unix.Setrlimit(resource, &was); err != nil {
			panic(err)
		}
	}
}

// firstFree is the lowest descriptor that is not open.
func firstFree() int {
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	unix.Close(fd)
	return fd
}

// sayUnless says so on standard output if err is another than what is to be expected, or
// has no hint.
func sayUnless(err error, step string, errno unix.Errno) {
	var e *vspawn.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Step, step) || e.Err != errno || e.Hint == "" {
		fmt.Printf("got %v, want %s, %v and a hint\n", err, step, errno)
	}
}

// sayUnlessWhole says so if a start fails.
func sayUnlessWhole(path string, attr *vspawn.Attr) {
	p, err := vspawn.Start(noContext, path, nil, attr)
	if err == nil {
		err = reap(p)
	}
	if err != nil {
		fmt.Println("then: ", err)
	}
}
