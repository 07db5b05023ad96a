//go:build linux

package tests

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// nobody is the user that children become, and their attacker is.
const nobody = 65534

// A siege is a way in which a victim starts children that others may look at.
type siege struct {
	name string
	attr *vspawn.Attr
	path string // in the place of a program that ends at once
	// same is an attacker of the victim's own user, who has fewer rights than it.
	same      bool
	credible  bool // by vspawn/exec, with a Credential
	cancelled bool
	many      bool // several goroutines
	beside    bool // os/exec is at work as well, which turns nothing on itself
	undone    bool // something keeps turning the dumpable flag on: the control
}

// lingering keeps a child on its way for a while once it is another's.
var lingering = []vspawn.Syscall{{Before: "Seccomp", Name: "clock_nanosleep", Nr: unix.SYS_CLOCK_NANOSLEEP,
	Args: [6]uintptr{unix.CLOCK_MONOTONIC, 0, instant(10 * time.Millisecond)}}}

// sieges are all of them. The control comes last.
func sieges() []siege {
	other := func() *vspawn.Attr { return &vspawn.Attr{UID: vspawn.Ptr(nobody), GID: vspawn.Ptr(nobody)} }
	session, namespace, slow := other(), other(), other()
	session.Setsid = true
	namespace.Cloneflags = unix.CLONE_NEWPID
	slow.Syscalls = lingering
	lesser := &vspawn.Attr{Capabilities: &vspawn.Capabilities{}}
	namespaced := &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER}
	ids := []vspawn.IDMap{{Inside: 0, Outside: 1000, Size: 1}}
	mapped := &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ids, GIDMap: ids}
	return []siege{
		{name: "another user", attr: other()},
		{name: "another user, slowly", attr: slow},
		{name: "another user, in a session", attr: session},
		{name: "another user, in a PID namespace", attr: namespace},
		{name: "another user, many at once", attr: other(), many: true},
		{name: "another user, failing", attr: other(), path: "/no/such/program"},
		{name: "another user, cancelled", attr: other(), cancelled: true},
		{name: "Credential", credible: true},
		{name: "another user, beside os/exec", attr: other(), beside: true},
		{name: "the same user, fewer capabilities", attr: lesser, same: true},
		{name: "the same user, a user namespace", attr: namespaced, same: true},
		{name: "the same user, id maps", attr: mapped, same: true},
		{name: "control", attr: slow, undone: true},
	}
}

// instant is the address of a struct timespec that is never freed.
func instant(d time.Duration) uintptr {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	kept = append(kept, &ts)
	return timespecAddress(&ts)
}

var kept []*unix.Timespec

// A booty is what an attacker has got: Files are those of memory that it could open.
type booty struct{ Tries, Files, Reads, Writes, Traced int }

// all tells whether there was everything that an attacker can do.
func (b *booty) all() bool { return b.Reads > 0 && b.Writes > 0 && b.Traced > 0 }

// No process of the user that a child becomes, nor one of the parent's user that
// may not look at the parent, reads or writes the parent's memory by way of the
// child, or traces it before it has its own. The control shows that such an
// attacker would find a way if there was one. VSPAWN_ATTACK is for how long to
// try in each way, in the place of a number of starts.
func TestAttack(t *testing.T) {
	helper.SkipEmulated(t, "memory that a child of vfork shares")
	helper.SkipNoMMU(t, "there any process can write to any memory")
	if os.Getuid() != 0 {
		t.Skip("for root: it takes several users")
	}
	program, _ := quick(t)
	for _, w := range sieges() {
		t.Run(w.name, func(t *testing.T) {
			got, starts, written := attack(t, &w, program)
			for again := 0; (got.Tries == 0 || w.undone && !got.all()) && again < 20; again++ {
				// On a busy machine the attacker need not have had a processor while a child
				// was there, nor with one processor at the right moment.
				got, starts, written = attack(t, &w, program)
			}
			t.Logf("%d starts, %+v", starts, got)
			switch {
			case got.Tries == 0 || starts == 0:
				t.Error("nothing was tried")
			case w.undone && !got.all():
				t.Errorf("the control's memory was not read, written and traced: %+v", got)
			case !w.undone && (got.Reads+got.Writes+got.Traced > 0 || written):
				t.Errorf("the parent's memory was reached: %+v, written %t", got, written)
			}
		})
	}
}

// attack has a victim start children, and an attacker look at them. written tells
// whether the victim found its own memory changed.
func attack(t *testing.T, w *siege, program string) (got booty, starts int, written bool) {
	t.Helper()
	path := program
	if w.path != "" {
		path = w.path
	}
	helper.MakeReachable()
	argv := victim.Argv(w.name, path, os.Getenv("VSPAWN_ATTACK"))
	attr := &vspawn.Attr{Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}}}
	by := nobody
	if w.same { // a user's, with all capabilities
		own, err := strconv.ParseUint(statusField("self", "CapPrm"), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		all := vspawn.CapSet(own)
		attr.UID, attr.GID, by = vspawn.Ptr(1000), vspawn.Ptr(1000), 1000
		attr.Capabilities, attr.Ambient = &vspawn.Capabilities{Permitted: all, Effective: all, Inheritable: all}, all
	}
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	attr.Files = append(attr.Files, vspawn.File{Child: 0, Parent: inR}, vspawn.File{Child: 1, Parent: outW})
	p, err := vspawn.Start(t.Context(), argv[0], argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	inR.Close()
	outW.Close()
	lines := bufio.NewScanner(outR)
	if !lines.Scan() {
		t.Fatal("the victim says nothing")
	}
	foeArgs := append(strings.Fields(lines.Text()), strconv.Itoa(by), strconv.Itoa(p.Pid()))
	foeOut := stopped(t, attacker.Command(foeArgs...))
	inW.Write([]byte("go\n"))
	for lines.Scan() {
		fmt.Sscan(lines.Text(), &starts, &written)
	}
	if s, err := p.Wait(context.Background()); err != nil || !s.Success() {
		t.Errorf("the victim ended by %v, %v", s, err)
	}
	if err := json.Unmarshal(foeOut(), &got); err != nil {
		t.Fatal(err)
	}
	return got, starts, written
}

// stopped starts an attacker, waits until it is at work, and gives a function
// that ends it and has what it says.
func stopped(t *testing.T, foe *osexec.Cmd) (end func() []byte) {
	t.Helper()
	in, err := foe.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := foe.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := foe.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal("the attacker says nothing: ", err)
	}
	return func() []byte {
		in.Close()
		said, _ := io.ReadAll(out)
		if err := foe.Wait(); err != nil {
			t.Errorf("the attacker ended by %v", err)
		}
		return said
	}
}
