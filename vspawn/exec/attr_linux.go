package exec

import (
	"os"
	"reflect"
	"slices"
	"sync"
	"syscall"

	"github.com/vspawn/vspawn/vspawn"
)

// plan is what Start starts. A nil env is the parent's.
func (c *Cmd) plan(fds []int, env []string) (*vspawn.Plan, error) {
	plan, err := c.compile(fds, env, false)
	if err != nil {
		return c.planAgain(fds, env, err)
	}
	return plan, nil
}

// compile makes the plan. With ask set, the child asks the kernel for what the
// library would refuse.
func (c *Cmd) compile(fds []int, env []string, ask bool) (*vspawn.Plan, error) {
	argv := c.Args
	if len(argv) == 0 {
		argv = []string{c.Path}
	}
	if c.Attr == nil && c.SysProcAttr == nil && c.Dir == "" && len(fds) == 3 && !ask {
		plan, err := plainPlan([3]int(fds))
		if err != nil {
			return nil, err
		}
		return plan.For(c.Path, argv, env)
	}
	attr, err := c.attr(fds, env, ask)
	if err != nil {
		return nil, err
	}
	return vspawn.Compile(c.Path, argv, attr)
}

// plain keeps plans, since most commands differ in the program alone.
var plain struct {
	sync.Mutex
	plans map[plainKey]*vspawn.Plan
}

// A plainKey is what the plan of a plain command depends on: the descriptors,
// and whether the limit of them is still the runtime's.
type plainKey struct {
	fds   [3]int
	limit syscall.Rlimit
}

const plainLimit = 64 // how many are kept

func plainPlan(fds [3]int) (*vspawn.Plan, error) {
	key := plainKey{fds: fds}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &key.limit); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	plain.Lock()
	defer plain.Unlock()
	if p := plain.plans[key]; p != nil {
		return p, nil
	}
	p, err := vspawn.Compile("/", nil, &vspawn.Attr{
		Env: []string{}, InheritFiles: true, Files: table(fds[:]), CloseRanges: closedRanges(fds[:], nil)})
	if err != nil {
		return nil, err
	}
	if plain.plans == nil || len(plain.plans) == plainLimit {
		plain.plans = map[plainKey]*vspawn.Plan{}
	}
	plain.plans[key] = p
	return p, nil
}

func table(fds []int) []vspawn.File {
	files := make([]vspawn.File, 0, len(fds))
	for child, fd := range fds {
		if fd != closed {
			files = append(files, vspawn.File{Child: child, Parent: vspawn.FD(fd)})
		}
	}
	return files
}

// closedRanges are the child's descriptors that were asked to be closed and are
// not given to it by others: the parent may have something open there.
func closedRanges(fds []int, others []vspawn.File) (ranges []vspawn.Range) {
	for child, fd := range fds {
		if fd != closed || slices.ContainsFunc(others, func(f vspawn.File) bool { return f.Child == child }) {
			continue
		}
		if n := len(ranges); n > 0 && ranges[n-1].Last == child-1 {
			ranges[n-1].Last = child
			continue
		}
		ranges = append(ranges, vspawn.Range{First: child, Last: child})
	}
	return ranges
}

// attr is all that the child is given.
func (c *Cmd) attr(fds []int, env []string, ask bool) (*vspawn.Attr, error) {
	a := &vspawn.Attr{InheritFiles: true}
	if c.Attr != nil {
		*a = *c.Attr
		switch {
		case a.Env != nil:
			return nil, &vspawn.AttrError{Field: "Env", Reason: "set in Attr: set that of Cmd"}
		case a.Dir != "":
			return nil, &vspawn.AttrError{Field: "Dir", Reason: "set in Attr: set that of Cmd"}
		case a.DieWithParent:
			return nil, &vspawn.AttrError{Field: "DieWithParent", Reason: "os.Process can't wait for a child that the kernel reaps: set Pdeathsig"}
		}
	}
	a.Env, a.Dir = env, c.Dir
	if a.InheritFiles {
		a.CloseRanges = slices.Concat(a.CloseRanges, closedRanges(fds, a.Files))
	}
	m := &mapping{cmd: c, sys: c.SysProcAttr, attr: a, fds: fds, others: a.Files, ask: ask}
	a.Files = slices.Concat(table(m.passable()), a.Files)
	if c.SysProcAttr == nil {
		return a, m.err
	}
	if err := checkSetctty(c.SysProcAttr, len(fds)); err != nil {
		return nil, err
	}
	v := reflect.ValueOf(c.SysProcAttr).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		name := v.Type().Field(i).Name
		to, known := sysProcAttr[name]
		if !known {
			m.refuse(name, "vspawn has nothing for it", syscall.EINVAL)
		} else if to != nil {
			to(m)
		}
	}
	return a, m.err
}
