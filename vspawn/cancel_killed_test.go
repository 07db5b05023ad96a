//go:build linux

package vspawn

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// A child that is to do something for another start, and that somebody kills, has not
// found out that it must not: it is worth another try. A start whose context is over
// would else wait for a child that hangs.
func TestRunToEndKilled(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	f, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	end := op{call: sysExitGroup, args: []arg{dec(0)}}
	for _, c := range []struct {
		name string
		ops  []op
		want error
	}{
		{"ends", []op{end}, nil},
		{"is killed", []op{{call: sysGetpid, out: arg{kind: argNext}}, {call: sysTkill, args: []arg{{kind: argResult}, sig(unix.SIGKILL)}}, end},
			unix.EAGAIN},
		{"may not", []op{{call: sysClose, args: []arg{{val: lastDescriptor}}}, end}, unix.EBADF},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := f.runToEnd(&Plan{compiled: &compiled{ops: c.ops}}); err != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
