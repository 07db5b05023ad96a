//go:build linux

package vspawn

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The child's oom_score_adj is lowered while it has its privileges, and raised
// behind all but the mask and the filter. One of the two is done, by what the
// parent has when the child is started.
func TestOOMScoreAdjPlace(t *testing.T) {
	text, err := os.ReadFile(ownOOMScoreAdj)
	if err != nil {
		t.Fatal(err)
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []int{-1000, own - 1, own, own + 1, 1000} {
		if value < -1000 || value > 1000 {
			continue
		}
		plan, err := Compile("/x", nil, &Attr{OOMScoreAdj: &value, UID: Ptr(1), Chroot: "/", Pdeathsig: unix.SIGTERM,
			NoNewPrivs: true, Seccomp: filter(unix.SECCOMP_RET_ALLOW)})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the steps are not kept
			l, err := plan.load(full)
			if err != nil {
				t.Fatal(err)
			}
			var order []string
			for _, o := range l.ops {
				order = append(order, o.name)
			}
			before, after := "chroot", []string{"rt_sigprocmask", "seccomp", "execve"}
			at := slices.Index(order, "write")
			switch {
			case at < 0 || slices.Contains(order[at+1:], "write"):
				t.Errorf("%d beside %d is not written once: %v", value, own, order)
			case value < own && !slices.Contains(order[at:], before):
				t.Errorf("%d below %d is written behind %s: %v", value, own, before, order)
			case value >= own && !slices.Equal(order[at+1:], after):
				t.Errorf("%d above %d is written with %v behind it", value, own, order[at+1:])
			}
		}
	}
}
