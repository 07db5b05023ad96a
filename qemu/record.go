package qemu

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// record takes in one event. An error is one that no guest of ours sends: it ends
// the run.
func (s *session) record(r wire.Record) error {
	switch {
	case s.done != nil:
		return fmt.Errorf("the guest sent %q after its closing record", r.Kind)
	case s.booted == (r.Kind == wire.Boot):
		return fmt.Errorf("the guest sent %q out of its turn", r.Kind)
	}
	switch r.Kind {
	case wire.Boot:
		s.booted = true
		s.res.Kernel = r.Kernel
		s.res.Boot = time.Since(s.start)
	case wire.List:
		return s.list(r)
	case wire.Start:
		if s.current != nil || s.begun[r.Binary] || len(s.chosen[r.Binary]) == 0 {
			return fmt.Errorf("the guest started %s, which was not to be started then", r.Binary)
		}
		c, err := startConverter(s.test2json, func(e testEvent) { s.event(r.Binary, e) })
		if err != nil {
			return err
		}
		s.current, s.at, s.begun[r.Binary] = c, r.Binary, true
		s.mu.Lock()
		s.last, s.said, s.again = "", nil, nil
		s.mu.Unlock()
		s.say(func(st *Status) { st.Binary, st.Test = r.Binary, "" })
	case wire.Output:
		if s.current == nil || s.at != r.Binary {
			return fmt.Errorf("the guest sent output of %s, which does not run", r.Binary)
		}
		if _, err := s.current.in.Write(r.Data); err != nil {
			return fmt.Errorf("test2json: %w", err)
		}
		// Without the marks that only test2json wants.
		if _, err := s.output.Write(bytes.ReplaceAll(r.Data, []byte{0x16}, nil)); err != nil {
			return err
		}
	case wire.Hung:
		s.res.problem("%s hangs: silent for %s%s", r.Binary, r.Status, s.where())
	case wire.End:
		c := s.current
		if c == nil || s.at != r.Binary {
			return fmt.Errorf("the guest ended %s, which does not run", r.Binary)
		}
		s.current, s.at, s.ended[r.Binary] = nil, "", true
		if err := c.close(); err != nil {
			return err
		}
		s.end(r)
	case wire.Broken:
		s.res.problem("the guest's agent failed: %s", r.Status)
	case wire.Done:
		s.done = &r
		s.say(func(st *Status) { st.Phase, st.Binary, st.Test = "powering off", "", "" })
	default:
		return fmt.Errorf("the guest sent an event of unknown kind %q", r.Kind)
	}
	return nil
}

// event takes in what a test says of itself.
func (s *session) event(binary string, e testEvent) {
	s.mu.Lock()
	if e.Test == "" {
		s.last = e.Action
		if line := strings.TrimSpace(e.Output); line != "" && line != "PASS" && line != "FAIL" {
			s.said = append(s.said, line)
		}
		s.mu.Unlock()
		return
	}
	t := s.res.find(binary, e.Test)
	if t.Outcome != Unfinished && e.Action != "output" || t.began && e.Action == "run" {
		s.again = append(s.again, e.Test)
	}
	top := !strings.Contains(e.Test, "/")
	switch e.Action {
	case "run":
		t.began = true
		if top {
			s.status.N++
		}
		s.status.Test = e.Test
	case "output":
		t.Output = append(t.Output, strings.TrimRight(e.Output, "\n"))
	case "pass", "fail", "skip":
		t.Outcome = Outcome(e.Action)
		t.Elapsed = time.Duration(e.Elapsed * float64(time.Second))
	}
	st := s.status
	s.mu.Unlock()
	if e.Action == "run" {
		s.report(st)
	}
}

// end judges one binary.
func (s *session) end(r wire.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []string
	for _, name := range s.chosen[r.Binary] {
		if t := s.res.find(r.Binary, name); !t.began {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		s.res.problem("%s did not run %d of its tests: %s", r.Binary, len(missing), few(missing))
	}
	var strange []string
	for _, t := range s.res.Tests {
		if top := t.Top(); t.Binary == r.Binary && !slices.Contains(s.chosen[r.Binary], top) &&
			!slices.Contains(strange, top) {
			strange = append(strange, top)
		}
	}
	if len(strange) > 0 {
		s.res.problem("%s ran what was not to run: %s", r.Binary, few(strange))
	}
	bad := false
	for _, t := range s.res.Tests {
		bad = bad || t.Binary == r.Binary && (t.Outcome == Fail || t.Outcome == Unfinished)
	}
	if len(s.again) > 0 {
		s.res.problem("%s ran these more than once: %s", r.Binary, few(s.again))
	}
	if r.Status == "" && !bad && s.last != "pass" && s.last != "skip" {
		s.res.problem("%s ended well, but did not say PASS at its end", r.Binary)
	}
	// A failed test explains exit status 1, and only that.
	if r.Status != "" && !(bad && r.Status == "exit status 1") {
		why := ""
		if len(s.said) > 0 {
			why = ": " + strings.Join(s.said[max(0, len(s.said)-4):], "; ")
		}
		s.res.problem("%s ended with %s%s", r.Binary, r.Status, why)
	}
	if len(r.Leaked) > 0 {
		s.res.problem("%s left these processes behind: %s", r.Binary, few(r.Leaked))
	}
}

// few names the first of a list, and counts the others.
func few(list []string) string {
	const most = 5
	if n := len(list); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), n-most)
	}
	return strings.Join(list, ", ")
}

// list takes in a part of what a binary says of its tests. What its source has is
// known here, so that one that ends early is no binary without tests.
func (s *session) list(r wire.Record) error {
	i := len(s.chosen) // the guest lists them in their order, as do the shards
	if i >= len(s.suites) || s.suites[i].Name != r.Binary || len(s.begun) > 0 {
		return fmt.Errorf("the guest listed the tests of %s out of their turn", r.Binary)
	}
	s.listed[r.Binary] = append(s.listed[r.Binary], r.Tests...)
	if r.More {
		return nil
	}
	b, listed := &s.suites[i], s.listed[r.Binary]
	slices.Sort(listed)
	if unique := slices.Compact(slices.Clone(listed)); len(unique) < len(listed) {
		s.res.problem("%s lists %d tests, of which %d are the same as others", r.Binary, len(listed), len(listed)-len(unique))
	}
	without := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
	}
	if missing := without(b.tests, listed); len(missing) > 0 {
		s.res.problem("%s lists %d tests, and not %s, which its source has", r.Binary, len(listed), few(missing))
	}
	if strange := without(listed, b.tests); len(strange) > 0 {
		s.res.problem("%s lists %s, which its source has not", r.Binary, few(strange))
	}
	chosen := s.selector.ChooseOf(&b.Binary, listed)
	s.chosen[r.Binary] = chosen
	s.say(func(st *Status) { st.Phase, st.Tests = "running", st.Tests+len(chosen) })
	return nil
}
