//go:build linux

package vspawn

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
)

// wanting asks for the features when there is nothing left to find them with,
// and again when there is. The arguments are the limit, and "old" for a kernel
// without clone3, where a pidfd comes by a call of its own.
var wanting = helper.New("wanting", func(args []string) int {
	resource, _ := strconv.Atoi(args[0])
	want := unix.Errno(unix.EMFILE)
	if resource == unix.RLIMIT_NPROC {
		want = unix.EAGAIN
		if os.Getuid() == 0 { // whom no such limit concerns
			if err := unix.Setuid(54321); err != nil {
				return complain("setuid: ", err)
			}
		}
		spareThreads()
	}
	if args[1] == "old" {
		if err := seccomp.Deny(unix.ENOSYS, unix.SYS_CLONE3); err != nil {
			return complain(err)
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(resource, &limit); err != nil {
		return complain("getrlimit: ", err)
	}
	none := unix.Rlimit{Cur: 1, Max: limit.Max}
	if resource == unix.RLIMIT_NOFILE {
		free, err := unix.Dup(0)
		if err != nil {
			return complain("dup: ", err)
		}
		unix.Close(free)
		none.Cur = uint64(free)
	}
	if err := unix.Setrlimit(resource, &none); err != nil {
		return complain("setrlimit: ", err)
	}
	f, err := Features()
	if err := unix.Setrlimit(resource, &limit); err != nil {
		return complain("setrlimit: ", err)
	}
	if !errors.Is(err, want) {
		return complain("got ", f, err, ", want ", want)
	}
	if f, err = Features(); err != nil {
		return complain("then: ", err)
	}
	fmt.Printf("%+v", f)
	return 0
})

func complain(a ...any) int {
	fmt.Fprintln(os.Stderr, a...)
	return 1
}

// spareThreads has the runtime make threads that it can use when it may make
// none.
func spareThreads() {
	var all, ready sync.WaitGroup
	const n = 16
	ready.Add(n)
	for range n {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			ready.Wait()
		})
	}
	all.Wait()
}

// A process that for want of descriptors, or of room for another process, can't
// find out what the kernel offers says so, and finds it when it can: it does
// not take the kernel for an older one for good.
func TestFeaturesForWant(t *testing.T) {
	helper.SkipEmulated(t, "clone that needs a descriptor, nor seccomp")
	for _, c := range []struct {
		name string
		args []string
		less func(f *FeatureSet)
	}{
		{"RLIMIT_NOFILE", []string{strconv.Itoa(unix.RLIMIT_NOFILE), "new"}, func(*FeatureSet) {}},
		{"RLIMIT_NOFILE, pidfd_open", []string{strconv.Itoa(unix.RLIMIT_NOFILE), "old"}, func(f *FeatureSet) { f.Clone3, f.ClearSighand, f.Autokill = false, false, false }},
		{"RLIMIT_NPROC", []string{strconv.Itoa(unix.RLIMIT_NPROC), "new"}, func(*FeatureSet) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := Features()
			if err != nil {
				t.Fatal(err)
			}
			switch old := c.args[1] == "old"; {
			case !old && !want.Clone3:
				t.Skip("there is no clone3 (Linux 5.3)")
			case old && !want.Pidfd:
				t.Skip("there is no pidfd (Linux 5.4)")
			}
			c.less(&want)
			out, err := wanting.Command(c.args...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(out), fmt.Sprintf("%+v", want); strings.TrimSpace(got) != want {
				t.Errorf("it found %s, want %s", got, want)
			}
		})
	}
}
