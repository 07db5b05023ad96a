//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// askingKinds are those of dyingKinds whose children ask their parent.
var askingKinds = []string{"id maps", "id maps, PID", "id maps, stopped", "stopped, PID", "traced, PID", "Pdeathsig, PID", "Pdeathsig with maps"}

// A child asks its parent, and gets its answer, in a sandbox that keeps the parent from
// one of the means; or the start fails, as it does for one whose maps are refused.
func TestAskInSandbox(t *testing.T) {
	askingHelper.Argv() // also where this is skipped
	helper.SkipEmulated(t, "seccomp")
	needUserNamespaces(t)
	for name, nr := range map[string]int{"pidfd_open": unix.SYS_PIDFD_OPEN, "epoll_ctl": unix.SYS_EPOLL_CTL,
		"shutdown": unix.SYS_SHUTDOWN, "sendto": unix.SYS_SENDTO, "socketpair": unix.SYS_SOCKETPAIR} {
		t.Run(name, func(t *testing.T) {
			if out, err := askingHelper.Command(name, strconv.Itoa(nr), tiny.Sleep(t)).Output(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// askingHelper starts children of these kinds in a sandbox without a call. Its
// arguments are the call's name and number, and the program.
var askingHelper = helper.New("asking", func(args []string) int {
	runtime.LockOSThread() // for the traced ones
	if _, err := vspawn.Features(); err != nil {
		panic(err)
	}
	if r, _, err := os.Pipe(); err != nil { // the runtime ends a process that can have no poller
		panic(err)
	} else {
		defer r.Close()
	}
	nr, _ := strconv.Atoi(args[1])
	if err := seccomp.Deny(unix.EPERM, uint32(nr)); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(noContext, 3*patience)
	defer cancel()
	for _, kind := range askingKinds {
		attr := dyingKinds[kind]
		p, err := vspawn.Start(ctx, args[2], nil, &attr)
		var e *vspawn.Error
		if args[0] == "socketpair" {
			if !errors.As(err, &e) || e.Step != "socketpair" || e.Field == "" || e.Err != unix.EPERM {
				fmt.Println(kind, "got", err)
				return 1
			}
			continue
		}
		if err != nil {
			fmt.Println(kind, err)
			return 1
		}
		p.Kill()
	}
	twice := vspawn.IDMap{Inside: 0, Outside: os.Getuid(), Size: 1} // which the kernel refuses
	attr := &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{twice, twice}}
	_, err := vspawn.Start(ctx, args[2], nil, attr)
	var e *vspawn.Error
	if !errors.As(err, &e) || e.Field != "UIDMap" || args[0] != "socketpair" && (e.Step != "write" || e.Err != unix.EINVAL) {
		fmt.Println("maps that are refused:", err)
		return 1
	}
	return 0
})

// What a child asks by has none of the numbers that Files is to fill, however many
// these are; and the program gets none of it.
func TestAskAmongFiles(t *testing.T) {
	helper.SkipEmulated(t, "namespaces")
	needUserNamespaces(t)
	for _, kind := range askingKinds {
		t.Run(kind, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for n := 3; n < 20; n++ {
				attr := dyingKinds[kind]
				for i := range n {
					attr.Files = append(attr.Files, vspawn.File{Child: i, Parent: vspawn.FD(2)})
				}
				// The second of these needs a spare number.
				attr.Files = append(attr.Files, vspawn.File{Child: n, Path: os.DevNull},
					vspawn.File{Child: n + 1, Path: os.DevNull})
				p, err := vspawn.Start(t.Context(), tiny.Sleep(t), nil, &attr)
				if err != nil {
					t.Fatalf("%d files: %v", n+2, err)
				}
				if attr.StartStopped || attr.Ptrace {
					open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
					if err != nil || len(open) != n+2 {
						t.Errorf("it has %d descriptors of %d, %v", len(open), n+2, err)
					}
				}
				if err := errors.Join(p.Kill(), reap(p)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
