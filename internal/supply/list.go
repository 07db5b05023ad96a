package supply

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// A list is the packages of a suite for an architecture. It is fetched once, for
// all who need it; that it can't be had is also known to all after.
type list struct {
	turn  chan struct{} // holds one: who asks
	asked bool
	apt   *apt
	err   error
}

type listKey struct{ suite, arch string }

// A reporter is told what takes time.
type reporter func(phase, detail string)

// list returns an apt that knows what the suite has for an architecture.
func (s *Store) list(ctx context.Context, suite, arch string, report reporter) (*apt, error) {
	key := listKey{suite, arch}
	s.mu.Lock()
	l := s.lists[key]
	if l == nil {
		l = &list{turn: make(chan struct{}, 1)}
		if s.lists == nil {
			s.lists = map[listKey]*list{}
		}
		s.lists[key] = l
	}
	s.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	if l.asked {
		return l.apt, l.err
	}
	a, err := s.fetchList(ctx, suite, arch, report)
	if ctx.Err() != nil {
		return nil, ctx.Err() // others may still want it
	}
	l.apt, l.err, l.asked = a, err, true
	return a, err
}

func (s *Store) fetchList(ctx context.Context, suite, arch string, report reporter) (*apt, error) {
	m, err := s.mirror(ctx)
	if err != nil {
		return nil, err
	}
	work, err := s.workDir(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(work, "apt")
	if err != nil {
		return nil, err
	}
	a, err := newAPT(dir, m, suite, arch)
	if err != nil {
		return nil, err
	}
	what := "list for " + arch
	report(fmt.Sprintf("fetching %s's %s", suite, what), "")
	return a, a.retry(ctx, what, report, func() error { return a.update(ctx) })
}

// retry fetches what the suite has as often as the mirror is worth.
func (a *apt) retry(ctx context.Context, what string, report reporter, fetch func() error) error {
	for try := 1; ; try++ {
		err := fetch()
		var u *unserved
		if err == nil || ctx.Err() != nil || !errors.As(err, &u) {
			return err
		}
		if u.final || try >= a.mirror.Tries {
			return &unserved{what + ": " + u.reason, u.final}
		}
		report(fmt.Sprintf("%s's %s: %s; trying again in %v (%d of %d)", a.suite, what, u.reason, a.mirror.Pause, try+1, a.mirror.Tries), "")
		if err := sleep(ctx, a.mirror.Pause); err != nil {
			return err
		}
	}
}
