//go:build linux

package tests

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A pairStage is what pairs need around them.
type pairStage struct {
	t        *testing.T
	lacks    map[string]string // why something is not to be had, by what it is
	own      *state
	puppet   *tiny.Puppet // of this pair
	dir      string
	dirFD    int
	program  int // of another copy of the puppet's program
	cgroup   *os.File
	group    string // its path
	root     string // for Chroot
	pivot    string // for PivotRoot, and
	pivotTop string // the directory that it is in
	uts      string // another UTS namespace
	cpu      int

	terminal int // of this pair; 0 is none yet
	cleanups []func()
}

// Numbers of the child's, and of the parent's, that pairs are seen by.
const (
	pairScan      = 128 // above all of them
	pairProc      = 98  // /proc, which all can have without a path to it
	pairTTY       = 97
	pairFile      = 96
	pairInherited = 95 // open in the parent, and not close-on-exec
	pairRanged    = 94 // so is this, which CloseRanges takes away
)

func newPairStage(t *testing.T) *pairStage {
	p := &pairStage{t: t, own: ownState(), lacks: map[string]string{}, dir: realTemp(t)}
	p.lack()
	dup := func(path string, flags, to, cloexec int) {
		fd := openFile(t, path)
		if err := unix.Dup3(fd, to, cloexec); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(to) })
	}
	dup("/proc", unix.O_PATH, pairProc, unix.O_CLOEXEC)
	dup(os.DevNull, unix.O_RDONLY, pairInherited, 0)
	dup(os.DevNull, unix.O_RDONLY, pairRanged, 0)
	var d string
	d, p.dirFD = openTemp(t)
	p.program = p.copyOfPuppet(filepath.Join(d, "program"))
	for cpu := range 1024 {
		if p.own.Scheduling.Affinity.IsSet(cpu) {
			p.cpu = cpu
		}
	}
	if p.lacks["root"] == "" {
		p.uts = fmt.Sprintf("/proc/%d/ns/uts", waiting(t, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS}).Pid())
	}
	if p.lacks["a root"] == "" {
		p.root, p.pivotTop = newRoot(t), newRoot(t)
		putPuppet(t, filepath.Join(p.pivotTop, "sub"))
		p.pivot = filepath.Join(p.pivotTop, "sub")
		for _, dir := range []string{p.root, p.pivotTop, p.pivot} {
			for _, name := range []string{"proc", "dev"} {
				if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if p.lacks["a cgroup"] == "" {
		p.cgroup, p.group = cgroup(t)
	}
	signal.Ignore(unix.SIGUSR2)
	t.Cleanup(func() { signal.Reset(unix.SIGUSR2) })
	return p
}

// lack finds out what there is not.
func (p *pairStage) lack() {
	lack := func(what string, lacks bool, why string, args ...any) {
		if lacks {
			p.lacks[what] = fmt.Sprintf(why, args...)
		}
	}
	lack("other CPUs", p.own.Scheduling.Affinity.Count() < 2, "there is but one CPU")
	lack("root", !hasCapability(unix.CAP_SYS_ADMIN) || !hasCapability(unix.CAP_SETUID) || !hasCapability(unix.CAP_SETPCAP), "we are not root")
	lack("a root", p.lacks["root"] != "" || dynamic(p.t), "we are not root, or this binary needs libraries")
	users := noUserNamespaces()
	lack("user namespaces", users != nil, "%v", users)
	lack("any ids in user namespaces", p.lacks["root"] != "" || users != nil, "we are not root, or %v", users)
	_, lacks := cgroupRoot()
	lack("a cgroup", lacks != "" || !newEnough(5, 7), "%s (CLONE_INTO_CGROUP is of Linux 5.7)", lacks)
	_, err := coreCookie()
	lack("core scheduling", err != nil, "%v: the kernel has no CONFIG_SCHED_CORE (Linux 5.14), or no core two threads", err)
	_, err = unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	lack("keys", err == unix.ENOSYS, "the kernel has no keys")
	v, err := landlockVersion()
	lack("Landlock", v < 1, "%v", err)
}

// copyOfPuppet is a descriptor of it.
func (p *pairStage) copyOfPuppet(path string) int {
	program, err := os.ReadFile(tiny.Argv(p.t)[0])
	if err == nil {
		err = os.WriteFile(path, program, 0o755)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return openFile(p.t, path)
}

// clean closes what a pair had for itself.
func (p *pairStage) clean() {
	for _, f := range p.cleanups {
		f()
	}
	p.cleanups, p.terminal = nil, 0
}
