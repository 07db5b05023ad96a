//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A pairEntry is one field of Attr for TestPairs, with what it needs beside it, and how
// the child sees it, whatever other field there is.
type pairEntry struct {
	field string
	needs string // a key of pairStage.lacks
	attr  func(p *pairStage) vspawn.Attr
	check func(p *pairStage, s *state) bool

	alike string // why a child without it may look the same, where that is so

	// What a child that is stopped needs to go on, and whether it was stopped as it
	// should be.
	awake func(c *vspawn.Process) error
}

// Each two attributes do not disturb each other: the child has both, or Compile refuses
// them, or changedPairs says how one changes the other.
func TestPairs(t *testing.T) {
	helper.SkipEmulated(t, "ptrace, namespaces and seccomp")
	once(t)
	p := newPairStage(t)
	counts := map[string]int{}
	for i, a := range pairEntries {
		t.Run(a.field, func(t *testing.T) {
			if why := p.lacks[a.needs]; why != "" {
				counts["left out"] += len(pairEntries) - i - 1
				t.Skip(why)
			}
			p.t = t
			runtime.LockOSThread() // for Ptrace
			defer runtime.UnlockOSThread()
			for _, b := range pairEntries[i+1:] {
				outcome, err := p.pair(a, b)
				if err != nil {
					t.Errorf("%s and %s: %v", a.field, b.field, err)
				}
				counts[outcome]++
			}
		})
	}
	t.Log(counts)
}

// Each attribute has an entry among the pairs.
func TestEveryAttributeIsPaired(t *testing.T) {
	v := reflect.TypeFor[vspawn.Attr]()
	var fields []string
	for i := range v.NumField() {
		fields = append(fields, v.Field(i).Name)
	}
	for _, f := range fields {
		if n := len(slices.DeleteFunc(slices.Clone(pairEntries), func(e pairEntry) bool { return e.field != f })); n != 1 {
			t.Errorf("Attr.%s has %d entries", f, n)
		}
	}
	if len(pairEntries) != len(fields) {
		t.Errorf("%d entries for %d fields", len(pairEntries), len(fields))
	}
	for _, pairs := range []map[string]string{changedPairs, refusedPairs} {
		for names := range pairs {
			for name := range strings.FieldsSeq(names) {
				if !slices.Contains(fields, name) {
					t.Errorf("%q is about %s, which is no field", names, name)
				}
			}
		}
	}
}

// A child that is not given an entry's field, but all that goes with it, is not seen as
// having it.
func TestPairsControl(t *testing.T) {
	helper.SkipEmulated(t, "ptrace, namespaces and seccomp")
	p := newPairStage(t)
	for _, e := range pairEntries {
		if why := p.lacks[e.needs]; why != "" {
			t.Logf("left out: %s: %s", e.field, why)
			continue
		}
		if e.alike != "" {
			continue
		}
		attr := e.attr(p)
		reflect.ValueOf(&attr).Elem().FieldByName(e.field).SetZero()
		child, err := p.start(&attr)
		var refused *vspawn.AttrError
		if errors.As(err, &refused) { // there is no such child
			child, err = p.start(&vspawn.Attr{Files: []vspawn.File{}})
		}
		if err != nil {
			t.Fatal(e.field, ": ", err)
		}
		if seen, err := p.look(child, pairEntry{field: e.field, check: e.check}); err != nil || len(seen) > 0 {
			t.Errorf("without %s the child is seen as having %v, %v", e.field, seen, err)
		}
		p.clean()
	}
}

// pair starts a child with both, and tells what came of it.
func (p *pairStage) pair(a, b pairEntry) (outcome string, err error) {
	if p.lacks[b.needs] != "" {
		return "left out", nil // and b says why
	}
	defer p.clean()
	names := a.field + " " + b.field
	attr := p.both(a, b)
	child, err := p.start(attr)
	var refused *vspawn.AttrError
	switch {
	case errors.As(err, &refused) && refusedPairs[names] != "":
		if field, _, _ := strings.Cut(refused.Field, "["); !slices.Contains([]string{a.field, b.field}, field) {
			return "", fmt.Errorf("the refusal names neither: %w", err)
		}
		return "refused", nil
	case err == nil && refusedPairs[names] != "":
		return "", errors.Join(errors.New("Compile does not refuse it"), child.Kill())
	case err != nil && changedPairs[names] != "", attr.ExecFD != nil && !bareExec() && errors.Is(err, unix.ENOENT):
		return "with a reason", nil
	case err != nil:
		return "", err
	}
	switch seen, err := p.look(child, a, b); {
	case err != nil:
		return "", err
	case len(seen) == 2 && changedPairs[names] != "" && os.Getenv("VSPAWN_TARGET") == "":
		return "", errors.New("both are seen, and changedPairs says why one is not")
	case len(seen) == 2:
		return "seen", nil
	case changedPairs[names] == "":
		return "", fmt.Errorf("seen are only %q", seen)
	}
	return "with a reason", nil
}

// start starts a puppet with attr, and with what all need.
func (p *pairStage) start(attr *vspawn.Attr) (*vspawn.Process, error) {
	p.puppet = tiny.New(p.t)
	attr.Files = append(attr.Files, vspawn.File{Child: tiny.FD, Parent: p.puppet.Child},
		vspawn.File{Child: pairProc, Parent: vspawn.FD(pairProc)})
	argv := tiny.Argv(p.t)
	path := argv[0]
	if attr.ExecFD != nil {
		path = ""
	}
	child, err := p.startFrom(attr.DieWithParent && !attr.Ptrace, path, argv, attr)
	p.puppet.Child.Close()
	if err != nil {
		p.puppet.Close()
	}
	return child, err
}

// startFrom starts a child, if anyThread is set not as that of this goroutine's thread.
func (p *pairStage) startFrom(anyThread bool, path string, argv []string, attr *vspawn.Attr) (
	child *vspawn.Process, err error) {
	if !anyThread {
		return vspawn.Start(p.t.Context(), path, argv, attr)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		child, err = vspawn.Start(p.t.Context(), path, argv, attr)
	}()
	<-done
	return child, err
}

// look asks the child, and tells which of the entries it sees.
func (p *pairStage) look(child *vspawn.Process, entries ...pairEntry) (seen []string, err error) {
	defer func() {
		p.puppet.Close()
		if s, err2 := child.Wait(p.t.Context()); err == nil && (err2 != nil || !s.Success()) {
			err = fmt.Errorf("the child ended by %v, %v", s, err2)
		}
	}()
	for _, e := range entries {
		if e.awake == nil {
			continue
		}
		if err := e.awake(child); err != nil {
			child.Kill()
			return nil, err
		}
	}
	s := &state{ProcFD: pairProc, Scan: pairScan}
	s.read(p.puppet.Do)
	for _, e := range entries {
		if e.check(p, s) {
			seen = append(seen, e.field)
		}
	}
	return seen, nil
}

// both has all that either entry asks for. Where they ask for one field, the entry of
// that field has its way.
func (p *pairStage) both(a, b pairEntry) *vspawn.Attr {
	x, y := a.attr(p), b.attr(p)
	vx, vy := reflect.ValueOf(&x).Elem(), reflect.ValueOf(&y).Elem()
	for i := range vx.NumField() {
		fx, fy, name := vx.Field(i), vy.Field(i), vx.Type().Field(i).Name
		switch {
		case fy.IsZero(), a.field == name && fx.Kind() != reflect.Slice && fx.Kind() != reflect.Uintptr:
		case fx.IsZero(), b.field == name && fx.Kind() != reflect.Slice && fx.Kind() != reflect.Uintptr:
			fx.Set(fy)
		case fx.Kind() == reflect.Uintptr: // flags
			fx.SetUint(fx.Uint() | fy.Uint())
		case slices.Contains([]string{"Files", "Syscalls", "Mounts", "Setns", "CloseRanges"}, name):
			for j := range fy.Len() {
				if !holdsEqual(fx, fy.Index(j)) {
					fx.Set(reflect.Append(fx, fy.Index(j)))
				}
			}
		case b.field == name:
			fx.Set(fy)
		}
	}
	return &x
}

// holdsEqual tells whether a list has one like v.
func holdsEqual(list, v reflect.Value) bool {
	for i := range list.Len() {
		if reflect.DeepEqual(list.Index(i).Interface(), v.Interface()) {
			return true
		}
	}
	return false
}
