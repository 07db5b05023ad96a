//go:build linux

package exec

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// An answer is a helper's line.
type answer struct{ Name, Text string }

// comparer runs one package's cases and says what came of each.
var comparer = helper.New("comparer", func(args []string) int {
	var t task
	if err := json.Unmarshal([]byte(args[0]), &t); err != nil {
		panic(err)
	}
	runtime.LockOSThread() // for PTRACE and PDEATHSIG
	if t.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil),
			syscall.Setresgid(t.UID, t.UID, t.UID), syscall.Setresuid(t.UID, t.UID, t.UID),
			unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)); err != nil {
			panic(err)
		}
	}
	if _, err := unix.FcntlInt(0, unix.F_DUPFD, 177); err != nil { // not close-on-exec: inherited
		panic(err)
	}
	out := json.NewEncoder(os.NewFile(uintptr(aside(1)), "answers"))
	s := suites[t.Suite]()
	for i := range s.names {
		if s.pairs > 0 && i >= s.pairs && (i-s.pairs)%t.Step != 0 {
			continue
		}
		if err := out.Encode(answer{s.names[i], s.run(&t, packs[t.Pack], i)}); err != nil {
			panic(err)
		}
	}
	return 0
}, cat, say, leaver)

// aside moves a descriptor out of the way of the cases, and /dev/null in its
// place.
func aside(fd int) int {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 200)
	if err == nil {
		err = unix.Dup3(0, fd, 0)
	}
	if err != nil {
		panic(err)
	}
	return high
}

// answers runs the task in a helper. One that says nothing for a minute hangs.
func answers(t *testing.T, job task) []answer {
	t.Helper()
	arg, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	c := comparer.Command(string(arg))
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, and a group of its own
	c.Dir = "/"
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan answer)
	go func() {
		defer close(lines)
		for s := bufio.NewReader(out); ; {
			var a answer
			line, err := s.ReadBytes('\n')
			if err != nil || json.Unmarshal(line, &a) != nil {
				return
			}
			lines <- a
		}
	}()
	var all []answer
	for hung := false; ; {
		select {
		case a, ok := <-lines:
			if ok {
				all = append(all, a)
				continue
			}
		case <-time.After(time.Minute):
			hung = true
			c.Process.Kill()
		}
		for range lines {
		}
		if err := c.Wait(); err != nil || hung {
			last := answer{Name: "none"}
			if len(all) > 0 {
				last = all[len(all)-1]
			}
			t.Errorf("%s, %s: %v (hung: %t) behind the case %q", job.Pack, job.Suite, err, hung, last.Name)
		}
		return all
	}
}

// An intent is a difference that is wanted: that of the cases that have all of
// these pieces. docs/exec.md says so as well.
type intent struct {
	pieces string // joined by " + "
	line   string // the one that differs; "" is any
	why    string
}

// covers tells whether this is all that differs.
func (n *intent) covers(name, own, std string) bool {
	have := strings.Split(name, " + ")
	if n.line != "" && without(n.line, own) != without(n.line, std) {
		return false
	}
	for _, p := range strings.Split(n.pieces, " + ") {
		if !slices.Contains(have, p) {
			return false
		}
	}
	return true
}

// without is a report without a line.
func without(label, text string) (rest string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, label+":") {
			rest += line
		}
	}
	return rest
}

// compare runs the task with both packages. With all set, all that is intended
// has to show where it is tried.
func compare(t *testing.T, job task, intents []intent, all bool) {
	t.Helper()
	start := time.Now()
	results := map[string]chan []answer{}
	for name := range packs {
		result := make(chan []answer, 1)
		results[name] = result
		j := job
		j.Pack = name
		go func() { result <- answers(t, j) }()
	}
	own, std := <-results["own"], <-results["std"]
	shown := map[string]bool{}
	differ := 0
	for i := range min(len(own), len(std)) {
		if own[i].Name != std[i].Name {
			t.Fatalf("case %d is %q and %q", i, own[i].Name, std[i].Name)
		}
		if own[i].Text == std[i].Text {
			continue
		}
		n := slices.IndexFunc(intents, func(n intent) bool { return n.covers(own[i].Name, own[i].Text, std[i].Text) })
		if n >= 0 {
			shown[intents[n].pieces] = true
			continue
		}
		if differ++; differ <= 30 {
			t.Errorf("%s: got\n%sos/exec gives\n%s", own[i].Name, own[i].Text, std[i].Text)
		}
	}
	t.Logf("uid %d: %d cases in %v, %d differ; %d of %d intents show", job.UID, len(own), time.Since(start).Round(time.Millisecond), differ, len(shown), len(intents))
	if len(own) != len(std) || len(own) == 0 {
		t.Errorf("%d and %d cases", len(own), len(std))
	}
	for _, n := range intents {
		tried := slices.ContainsFunc(own, func(a answer) bool { return a.Name == n.pieces })
		if all && tried && !shown[n.pieces] {
			t.Errorf("%s: is to differ (%s), but does not", n.pieces, n.why)
		}
	}
}
