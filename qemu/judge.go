package qemu

import (
	"fmt"
	"strings"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// judge adds what only the end of the run shows.
func (s *session) judge(vmErr error, gaveUp bool) {
	r := s.res
	r.Console = s.console.tail
	for _, line := range s.console.bad {
		r.problem("the console says: %s", line)
	}
	if s.console.over && !gaveUp { // at its very end
		r.problem("%s", consoleFull)
	}
	if s.console.err != nil {
		r.problem("console log: %v", s.console.err)
	}
	switch {
	case gaveUp:
	case !s.booted:
		r.problem("the guest ended before its first event%s%s", s.agent(), because(vmErr))
	case s.done == nil:
		r.problem("the guest ended without its closing record%s%s", s.where(), because(vmErr))
	case s.done.Ran != len(s.ended):
		r.problem("the guest says it ran %d binaries; %d came to an end", s.done.Ran, len(s.ended))
	case vmErr != nil:
		r.problem("QEMU: %v", vmErr)
	}
	if s.done == nil {
		return
	}
	for _, b := range s.suites {
		chosen, listed := s.chosen[b.Name]
		switch {
		case !listed:
			r.problem("the guest listed no tests of %s", b.Name)
		case len(chosen) > 0 && !s.ended[b.Name]:
			r.problem("the guest ran none of the %d tests of %s", len(chosen), b.Name)
		}
	}
}

// agent is what the agent said on the console, for want of a port.
func (s *session) agent() string {
	said := s.console.agent
	if strings.HasPrefix(said, wire.NoPort) {
		return fmt.Sprintf(": %s; give its modules by MODULES_%s=, or another kernel", strings.TrimPrefix(said, "guest: "), s.target.variable())
	}
	if said != "" {
		return ": " + said
	}
	return ""
}

// because says why QEMU ended, if that is news.
func because(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf(" (QEMU: %v)", err)
}

// where names the tests that run now.
func (s *session) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.booted {
		return ", from the start of QEMU on" + s.agent()
	}
	var running []string
	for _, t := range s.res.Tests {
		if t.Outcome != Unfinished || !t.began {
			continue
		}
		// A test that runs a subtest is where that is.
		if n := len(running); n > 0 && strings.HasPrefix(t.Binary+" "+t.Name, running[n-1]+"/") {
			running = running[:n-1]
		}
		running = append(running, t.Binary+" "+t.Name)
	}
	if len(running) == 0 {
		return ", with no test running"
	}
	return ", in " + strings.Join(running, ", ")
}
