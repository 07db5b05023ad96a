//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A parent that is not root, but may choose ids (CAP_SETUID, CAP_SETGID), gives
// children id maps of several lines, also many at once. The files below /proc are
// root's for it, since its children must not be looked at by others of its user. No
// thread of its is another behind that.
func TestIDMapsOfLesserParent(t *testing.T) {
	helper.SkipEmulated(t, "namespaces")
	if os.Getuid() != 0 {
		t.Skip("for root: it gives a parent capabilities")
	}
	program, _ := quick(t)
	helper.MakeReachable()
	r, w := blockingPipe(t)
	set := vspawn.Caps(unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_CHOWN)
	argv := lesserParent.Argv(program)
	p, err := vspawn.Start(t.Context(), argv[0], argv, &vspawn.Attr{
		UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1000),
		Capabilities: &vspawn.Capabilities{Permitted: set, Effective: set, Inheritable: set}, Ambient: set,
		Files: []vspawn.File{{Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	said, _ := io.ReadAll(r)
	if s, err := p.Wait(context.Background()); err != nil || !s.Success() || string(said) != "" {
		t.Errorf("the parent ended by %v, %v: %s", s, err, said)
	}
}

var lesserParent = helper.New("lesser parent", func(args []string) int {
	ids := []vspawn.IDMap{{Inside: 0, Outside: 1000, Size: 1}, {Inside: 1, Outside: 100000, Size: 1000}}
	attrs := []*vspawn.Attr{
		{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ids, GIDMap: ids, AllowSetgroups: true, UID: vspawn.Ptr(1), GID: vspawn.Ptr(1)},
		{UID: vspawn.Ptr(nobody), GID: vspawn.Ptr(nobody)},
	}
	before := threadIDs()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range helper.Rounds(50) {
				p, err := vspawn.Start(context.Background(), args[0], nil, attrs[i%2])
				if err == nil {
					_, err = p.Wait(context.Background())
				}
				var e *vspawn.Error
				if errors.As(err, &e) && e.Field == "Cloneflags" {
					return // no user namespaces for us
				}
				if err != nil {
					fmt.Println(err)
					return
				}
			}
		})
	}
	all.Wait()
	if now := threadIDs(); now != before {
		fmt.Printf("a thread's ids and capabilities were\n%s and are\n%s", before, now)
	}
	return 0
})

// threadIDs are the ids and capabilities of all threads, each once.
func threadIDs() string {
	var list []string
	threads, _ := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		b, _ := os.ReadFile("/proc/self/task/" + thread.Name() + "/status")
		var ids []string
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "Uid:") || strings.HasPrefix(line, "Gid:") || strings.HasPrefix(line, "Cap") {
				ids = append(ids, line)
			}
		}
		list = append(list, strings.Join(ids, ""))
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), "\n")
}
