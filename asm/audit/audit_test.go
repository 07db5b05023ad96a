package audit

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// architectures are those that a file here has added.
var architectures []*architecture

func add(a *architecture) bool {
	architectures = append(architectures, a)
	return true
}

// An architecture is what the audit needs to know of one.
type architecture struct {
	name   string // GOARCH
	decode func(code []byte) (op, error)

	// Registers as op.text spells them. The child of spawn must leave alone
	// the stack pointer, whatever else points into the stack or to g, and
	// the link register.
	g, sp, child *regexp.Regexp
	link         *regexp.Regexp // holds the return address; nil if the stack does
	lost         *regexp.Regexp // what a system call may destroy
}

// An op is an instruction.
type op struct {
	text      string // as its decoder prints it
	size      int
	flow      flow
	rel       int    // of jump, branch and call: the target, from this op's start
	ifZero    bool   // of branch: taken if the comparison was equal
	push, pop string // the register, where the architecture has such ops
}

type flow int

const (
	next     flow = iota // on to the following op
	jump                 // to rel
	branch               // to rel or on
	call                 // to rel, and back; 0 is to wherever a register says
	ret                  // to the caller
	indirect             // to wherever a register says
	syscall
)

// A function is one from an executable.
type function struct {
	*architecture
	name string
	code []byte
}

func (f *function) op(at int) (op, error) {
	if at < 0 || at >= len(f.code) {
		return op{}, fmt.Errorf("%+#x: leaves the function", at)
	}
	o, err := f.decode(f.code[at:])
	if err != nil {
		return op{}, fmt.Errorf("%+#x: cannot be decoded: %v", at, err)
	}
	return o, nil
}

func complaint(at int, o op, what string) error { return fmt.Errorf("%+#x %s: %s", at, o.text, what) }

// walk visits every op that can be reached from at on, calls not followed,
// until visit returns an error.
func walk(f *function, at int, seen map[int]bool, visit func(at int, o op) error) error {
	for !seen[at] {
		seen[at] = true
		o, err := f.op(at)
		if err != nil {
			return err
		}
		if err := visit(at, o); err != nil {
			return err
		}
		switch o.flow {
		case ret, indirect:
			return nil
		case jump:
			at += o.rel
			continue
		case branch:
			if err := walk(f, at+o.rel, seen, visit); err != nil {
				return err
			}
		}
		at += o.size
	}
	return nil
}

// auditSpawn follows the child through f, from the second system call on.
func auditSpawn(f *function) error {
	at, made := 0, 0
	for {
		o, err := f.op(at)
		if err != nil {
			return err
		}
		if o.flow == syscall {
			made++
		} else if o.flow != next && !(o.flow == branch && made == 2) {
			return complaint(at, o, "parent and child must part at the first branch, after the second system call")
		} else if made == 2 {
			if err := childMay(f, at, o); err != nil {
				return err
			}
		}
		if o.flow == branch {
			if o.ifZero {
				at += o.rel
			} else {
				at += o.size
			}
			return walk(f, at, map[int]bool{}, func(at int, o op) error { return childMay(f, at, o) })
		}
		at += o.size
	}
}

func childMay(f *function, at int, o op) error {
	switch {
	case o.push != "" || o.pop != "":
		return complaint(at, o, "the child pushes or pops")
	case o.flow == call:
		return complaint(at, o, "the child calls")
	case o.flow == ret:
		return complaint(at, o, "the child returns")
	case o.flow == indirect:
		return complaint(at, o, "the child jumps to where the audit cannot follow")
	case f.child.MatchString(o.text):
		return complaint(at, o, "the child uses "+f.child.FindString(o.text))
	}
	return nil
}

// auditVfork checks that f's return address is in a register, and only there,
// while the child runs.
func auditVfork(f *function) error {
	at, made := 0, false
	held := "" // the register that took the return address off the stack
	for {
		o, err := f.op(at)
		if err != nil {
			return err
		}
		switch {
		case o.flow == ret && !made:
			return complaint(at, o, "returns without a system call")
		case o.flow == ret && held != "":
			return complaint(at, o, "the return address is not put back")
		case o.flow == ret:
			return nil
		case o.flow == syscall && made:
			return complaint(at, o, "a second system call")
		case o.flow == syscall && f.link == nil && held == "":
			return complaint(at, o, "the return address is in memory while the child runs")
		case o.flow == syscall:
			made = true
		case o.flow != next:
			return complaint(at, o, "there is but one way through Vfork")
		case o.pop != "" && held == "" && !made:
			if f.lost.MatchString(o.pop) {
				return complaint(at, o, "the system call destroys that register")
			}
			held = o.pop
		case o.push != "" && o.push == held && made:
			held = ""
		case o.push != "" || o.pop != "":
			return complaint(at, o, "not the return address")
		case held != "" && mentions(o.text, held):
			return complaint(at, o, "the return address is in that register")
		case f.link != nil && f.link.MatchString(o.text):
			return complaint(at, o, "the return address is in that register")
		case !made && f.sp.MatchString(o.text):
			return complaint(at, o, "uses the stack before the system call")
		}
		at += o.size
	}
}

func mentions(text, register string) bool {
	return regexp.MustCompile(`\b` + register + `\b`).MatchString(text)
}

// calls are the targets of f's calls, from its start, in the order of the code.
func calls(f *function) (targets []int, err error) {
	found := map[int]int{}
	err = walk(f, 0, map[int]bool{}, func(at int, o op) error {
		if o.flow == call && o.rel != 0 {
			found[at] = at + o.rel
		}
		return nil
	})
	for _, at := range slices.Sorted(maps.Keys(found)) {
		targets = append(targets, found[at])
	}
	return targets, err
}
