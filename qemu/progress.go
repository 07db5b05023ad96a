package qemu

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Status is what a target, or one of its guests, is at.
type Status struct {
	Target string // or the guest's name
	Phase  string
	Detail string // of the phase; what has one has no Binary
	Binary string
	Test   string
	N      int // tests begun
	Tests  int // tests chosen
}

func (s Status) String() string {
	switch {
	case s.Detail != "":
		return s.Phase + ", " + s.Detail
	case s.Binary == "":
		return s.Phase
	}
	return fmt.Sprintf("%s test %d of %d: %s %s", s.Phase, s.N, s.Tests, s.Binary, s.Test)
}

// quiet is how long a phase may go on, where lines are plain, without a line.
const quiet = 30 * time.Second

// A progress shows the statuses of all targets: on a terminal as a block of
// live lines, elsewhere as a plain line for each new phase.
type progress struct {
	out   *os.File
	live  bool
	start time.Time
	width int // of a name

	mu    sync.Mutex
	order []string
	now   map[string]Status
	since map[string]time.Time
	said  map[string]time.Time // when there was a plain line
	drawn int                  // live lines on the screen

	stop chan struct{}
	gone chan struct{}
}

func newProgress(out *os.File, names []string) *progress {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	p := &progress{
		out:   out,
		live:  err == nil && os.Getenv("TERM") != "dumb",
		start: time.Now(),
		now:   map[string]Status{},
		since: map[string]time.Time{},
		said:  map[string]time.Time{},
		order: slices.Clone(names),
		stop:  make(chan struct{}),
		gone:  make(chan struct{}),
	}
	for _, name := range names {
		p.width = max(p.width, len(name))
	}
	go p.tick()
	return p
}

// tick keeps the elapsed times moving.
func (p *progress) tick() {
	defer close(p.gone)
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// close removes the live lines.
func (p *progress) close() {
	close(p.stop)
	<-p.gone
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.live = false
}

func (p *progress) set(s Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.now[s.Target]
	p.now[s.Target] = s
	if !known {
		p.add(s.Target)
	}
	if !known || old.Phase != s.Phase {
		p.since[s.Target] = time.Now()
	}
	stale := s.Detail != "" && time.Since(p.said[s.Target]) > quiet
	if !p.live && (old.Phase != s.Phase || old.Binary != s.Binary || stale) {
		fmt.Fprintf(p.out, "%6.1fs %-*s %s\n", time.Since(p.start).Seconds(), p.width, s.Target, s)
		p.said[s.Target] = time.Now()
	}
}

// add makes room for one that was not named before, such as a second guest, behind
// those whose name begins its own.
func (p *progress) add(name string) {
	p.width = max(p.width, len(name))
	if slices.Contains(p.order, name) {
		return
	}
	at := len(p.order)
	for i, other := range p.order {
		if strings.HasPrefix(name, other) {
			at = i + 1
		}
	}
	p.order = slices.Insert(p.order, at, name)
}

// print prints text that stays, above the live lines.
func (p *progress) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprint(p.out, text)
}

func (p *progress) erase() {
	if p.drawn > 0 {
		fmt.Fprint(p.out, up(p.drawn))
		p.drawn = 0
	}
}

// up goes back n lines and clears what is below.
func up(n int) string { return fmt.Sprintf("\x1b[%dA\x1b[J", n) }

func (p *progress) draw() {
	if !p.live {
		return
	}
	width := 80
	if ws, err := unix.IoctlGetWinsize(int(p.out.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
		width = int(ws.Col)
	}
	var b strings.Builder // one write, so that nothing flickers
	if p.drawn > 0 {
		b.WriteString(up(p.drawn))
		p.drawn = 0
	}
	for _, name := range p.order {
		s, ok := p.now[name]
		if !ok {
			continue
		}
		text := fmt.Sprintf("%-*s %5.1fs %s", p.width, name, time.Since(p.since[name]).Seconds(), s)
		if r := []rune(text); len(r) >= width {
			text = string(r[:width-1]) // a line that wraps can't be erased
		}
		b.WriteString(text + "\n")
		p.drawn++
	}
	p.out.WriteString(b.String())
}
