//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// withFeatures runs f as if the kernel had less than it has.
func withFeatures(t *testing.T, name string, change func(*FeatureSet), f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		found, err := probe()
		if err != nil {
			t.Fatal(err)
		}
		less := *found
		change(&less)
		features.found.Store(&less)
		defer features.found.Store(found)
		f(t)
	})
}

// lesserKernels are ways in which a kernel can lack what a start can use.
var lesserKernels = []struct {
	name   string
	change func(*FeatureSet)
}{
	{"all", func(*FeatureSet) {}},
	{"no clone3", func(f *FeatureSet) { f.Clone3, f.ClearSighand = false, false }},
	{"no CLONE_CLEAR_SIGHAND", func(f *FeatureSet) { f.ClearSighand = false }},
	{"no CLOSE_RANGE_UNSHARE", func(f *FeatureSet) { f.CloseRangeUnshare = false }},
	{"no CLOSE_RANGE_CLOEXEC", func(f *FeatureSet) { f.CloseRangeCloexec = false }},
	{"core dumps of all", func(f *FeatureSet) { f.LoneCoreDump = false }},
	{"no pidfd", func(f *FeatureSet) { f.Pidfd = false }},
	{"no way back from waitid", func(f *FeatureSet) { f.recall = false }},
	{"no shared memory", func(f *FeatureSet) { f.SharedMemory, f.CloseRangeUnshare = false, false }},
	{"nothing", func(f *FeatureSet) { *f = FeatureSet{} }},
}

// Whatever the kernel lacks, a child has the descriptors that it was given and
// no other, its status is seen, and a failure is named.
func TestLesserKernels(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	leak, err := unix.Dup(int(r.Fd())) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	inode := func(fd int) string {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}

	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			// 5 and 7 are the two ends, crossed twice over.
			attr := Attr{Files: []File{
				{Child: 0, Parent: r}, {Child: 1, Parent: in}, {Child: 2, Parent: FD(2)},
				{Child: int(r.Fd()), Parent: w}, {Child: int(w.Fd()), Parent: r}, {Child: 40, Parent: w},
			}}
			p := startHelper(t, &attr, list)
			in.Close()
			got := map[int]string{}
			for {
				var fd int
				var id string
				if _, err := fmt.Fscanf(out, "%d:%s\n", &fd, &id); err != nil {
					break
				}
				got[fd] = id
			}
			if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
				t.Fatal(s, err)
			}
			want := map[int]string{0: inode(int(r.Fd())), 1: got[1], 2: inode(2),
				int(r.Fd()): inode(int(w.Fd())), int(w.Fd()): inode(int(r.Fd())), 40: inode(int(w.Fd()))}
			for fd, id := range want {
				if got[fd] != id {
					t.Errorf("descriptor %d is %q, want %q", fd, got[fd], id)
				}
			}
			for fd := range got {
				// The helper's runtime opens some of its own, on its own.
				if _, ok := want[fd]; !ok && got[fd] == inode(leak) {
					t.Errorf("descriptor %d has leaked", fd)
				}
			}

			q := startArgv(t, nil, exits(t, 7))
			if s, err := q.Wait(t.Context()); err != nil || s.ExitCode() != 7 || s.Pid() != q.Pid() {
				t.Errorf("got %v, %v, want exit status 7", s, err)
			}

			_, err = Start(t.Context(), "/", nil, &Attr{Dir: "/no/such"})
			var failed *Error
			if !errors.As(err, &failed) || failed.Step != "chdir" || failed.Field != "Dir" || failed.Object != "/no/such" ||
				failed.Err != unix.ENOENT {
				t.Errorf("got %#v", err)
			}
		})
	}
}

// A context that ends kills a child that is still on its way, and the error
// says where it was.
func TestStartCancelled(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	forever := &[2]uint64{1 << 40, 0} // struct timespec
	argv := exits(t, 0)
	plan, err := Compile(argv[0], argv, &Attr{Syscalls: []Syscall{
		{Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{w.Fd(), pointer(forever), 1}},
		{Name: "nanosleep", Nr: unix.SYS_NANOSLEEP, Args: [6]uintptr{pointer(forever)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range lesserKernels[:2] {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			cause := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				r.Read(make([]byte, 1)) // the child is there
				cancel(cause)
			}()
			_, err := plan.Start(ctx)
			var failed *Error
			if !errors.As(err, &failed) || !errors.Is(err, cause) {
				t.Fatalf("got %v", err)
			}
			if failed.Step != "write" && failed.Step != "nanosleep" || failed.Field == "" {
				t.Errorf("cancelled in %s, field %q", failed.Step, failed.Field)
			}
		})
	}
}

// A start through a Plan, and the wait, allocate a Process and what its waiters
// wait on.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop what it is given")
	}
	helper.SkipEmulated(t, "start without a report pipe")
	argv := exits(t, 0)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	attrs := []*Attr{nil, {Files: []File{{Child: 0, Parent: file}, {Child: 1, Parent: file}}}}
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	if !f.CloseRangeCloexec || os.Getenv("VSPAWN_INLINING") == "off" {
		// Each start asks then which descriptors there are; or a file's connection
		// escapes, with what is called with its number.
		attrs = attrs[:1]
	}
	for _, attr := range attrs {
		plan, err := Compile(argv[0], argv, attr)
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		got := math.Inf(1)
		for range 5 { // the best counts: the runtime's own are in it as well
			got = min(got, testing.AllocsPerRun(20, func() {
				p, err := plan.Start(ctx)
				if err == nil {
					_, err = p.Wait(ctx)
				}
				if err != nil {
					t.Fatal(err)
				}
			}))
		}
		if got > 2 {
			t.Errorf("%v allocations, want 2, with %+v", got, attr)
		}
	}
}
