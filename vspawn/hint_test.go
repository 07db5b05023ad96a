//go:build linux

package vspawn

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An error says what may be done about it, if its call knows.
func TestHints(t *testing.T) {
	groups := Attr{Groups: []int{1}}
	for _, x := range []struct {
		path  string
		attr  Attr
		call  call
		cause error
		is    error
		hint  string
	}{
		{"/x", groups, sysSetgroups, unix.EPERM, unix.EPERM, "it needs CAP_SETGID"},
		{"/x", groups, sysSetgroups, unix.EINVAL, unix.EINVAL, ""},
		{"/x", groups, sysSetgroups, unix.ENOSYS, unix.ENOSYS, "the kernel is too old"},
		{"/x", Attr{Seccomp: []BPF{{}}}, sysSeccomp, unix.EACCES, unix.EACCES, "it needs NoNewPrivs"},
		{"/x", Attr{Setns: []Namespace{{Pid: 1, Flags: unix.CLONE_NEWTIME}}}, sysSetns, unix.EUSERS, unix.EUSERS, "use Cloneflags"},
		{"/x", Attr{Cloneflags: unix.CLONE_NEWNS, PivotRoot: "/"}, sysPivotRoot, unix.EINVAL, unix.EINVAL, "it must be a mount point"},
		{"/x", Attr{Pdeathsig: unix.SIGKILL}, sysGetppid, errUnexpected, unix.ESRCH, "the parent died"},
		{"/x", Attr{Landlock: &Landlock{FS: 1}}, sysLandlockCreateRuleset, unix.EOPNOTSUPP, unix.EOPNOTSUPP, "built without it"},
		{"/x", Attr{}, sysExecve, unix.ENOENT, unix.ENOENT, ""},
		{"/proc/self/exe", Attr{}, sysExecve, unix.ENOENT, unix.ENOENT, "its interpreter"},
		{"/x", Attr{}, sysExecve, unix.ENOEXEC, unix.ENOEXEC, "not a program for this machine"},
	} {
		p, err := Compile(x.path, nil, &x.attr)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(p.ops, func(o op) bool { return o.call == x.call })
		if i < 0 {
			t.Errorf("no %s in\n%s", x.call.name, p)
			continue
		}
		e := p.ops[i].failed(x.cause)
		if e.Step != x.call.name || e.Err != x.is || !strings.Contains(e.Hint, x.hint) || x.hint == "" && e.Hint != "" {
			t.Errorf("%s ending in %v: got %v", x.call.name, x.cause, e)
		}
	}
}
