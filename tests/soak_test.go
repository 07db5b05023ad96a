//go:build linux

package tests

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	osexec "os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A process starts children of random attributes, from many goroutines, in all ways
// there are, for programs that end, are killed, or are not there, with contexts that
// end at any moment; while it collects garbage, writes profiles and grows stacks; first
// undisturbed, then beside one that sends signals to it and to its threads, and kills
// and stops its children. Each child is accounted for once, by a state that it can have,
// and at the end the process has no child, descriptor, goroutine, thread or memory more
// than before, and is in the same state.
//
// VSPAWN_SOAK is how often to start, or for how long: 1000000, or 1h.
func TestSoak(t *testing.T) {
	once(t)
	helper.SkipEmulated(t, "way to start a program for its own machine")
	amount := os.Getenv("VSPAWN_SOAK")
	if amount == "" {
		amount = strconv.Itoa(helper.Rounds(1000))
	}
	s := newSoaking(t, "all", os.Getuid())
	argv := []string{amount, t.TempDir(), s.cgroup(), tiny.Sleep(t)}
	for _, status := range soakStatuses {
		argv = append(argv, tiny.Exit(t, status))
	}
	s.run(soakHelper.Command(argv...))
	s.judge()
}

// A soaking is what the test knows of the soaker.
type soaking struct {
	t       *testing.T
	figures map[string]int
	does    string // the foe
	foeUser int
	foe     *osexec.Cmd
	foeIn   io.Closer
	foeSaid chan string
}

func newSoaking(t *testing.T, does string, user int) *soaking {
	return &soaking{t: t, figures: map[string]int{}, does: does, foeUser: user}
}

// run runs the process that starts children, and the foe when it asks for it.
func (s *soaking) run(cmd *osexec.Cmd) {
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.take(lines.Text(), cmd.Process.Pid, in)
	}
	if s.foeIn != nil { // it has died in the middle
		s.end()
	}
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("the process that starts children ended by %v", err)
	}
}

// cgroup is the path of one for the children, or "".
func (s *soaking) cgroup() string {
	path := ""
	s.t.Run("cgroup", func(t *testing.T) {
		cgroup(t) // which skips
		path = "there is one"
	})
	if path == "" {
		return ""
	}
	dir, _ := cgroup(s.t)
	return dir.Name()
}

// take heeds a line of the soaker's: a failure, its figures, or what it wants.
func (s *soaking) take(line string, pid int, answer io.Writer) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "fail:":
		s.t.Error(rest)
	case "figures:":
		s.read(rest)
	case "storm":
		s.begin(pid, answer)
	case "calm":
		s.end()
		fmt.Fprintln(answer)
	default:
		s.t.Log(line)
	}
}

// read adds figures, of the form "name=number".
func (s *soaking) read(text string) {
	for _, word := range strings.Fields(text) {
		name, n, _ := strings.Cut(word, "=")
		number, err := strconv.Atoi(n)
		if err != nil {
			s.t.Errorf("a figure is %q", word)
		}
		s.figures[name] += number
	}
}

// begin starts the foe, and tells the soaker when it has done enough.
func (s *soaking) begin(pid int, soaker io.Writer) {
	s.foe = soakFoe.Command(strconv.Itoa(pid), s.does, strconv.Itoa(s.foeUser))
	in, err := s.foe.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := s.foe.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.foe.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.foeIn, s.foeSaid = in, make(chan string)
	go func() {
		fmt.Fprintln(soaker)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if line := lines.Text(); line == "enough" {
				fmt.Fprintln(soaker, line)
			} else {
				s.foeSaid <- line
			}
		}
		close(s.foeSaid)
	}()
}

// end ends it.
func (s *soaking) end() {
	s.foeIn.Close()
	s.foeIn = nil
	for figures := range s.foeSaid {
		s.read(figures)
	}
	if err := s.foe.Wait(); err != nil {
		s.t.Errorf("the foe ended by %v", err)
	}
}

// log logs the sums, as `make soak` reads them.
func (s *soaking) log() {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(s.figures)) {
		words = append(words, fmt.Sprintf("%s=%d", name, s.figures[name]))
	}
	s.t.Log("soak figures: ", strings.Join(words, " "))
}

// judge looks at the sums.
func (s *soaking) judge() {
	f := s.figures
	s.log()
	switch {
	case f["started"] == 0 || f["exited"] == 0 || f["killed"] == 0 || f["missing"] == 0:
		s.t.Error("nothing was tried")
	case f["started"] != f["exited"]+f["killed"]:
		s.t.Errorf("%d children were born, and %d have ended", f["started"], f["exited"]+f["killed"])
	case f["starts"] != f["started"]+f["missing"]+f["cancelled"]+f["lost"]:
		s.t.Errorf("of %d starts %d are accounted for", f["starts"], f["started"]+f["missing"]+f["cancelled"]+f["lost"])
	case f["strange"]+f["lost"] > f["foe-killed"]:
		s.t.Errorf("%d children were killed by nobody here, and the foe has signalled %d", f["strange"], f["foe-killed"])
	case f["foe-signals"] == 0 || f["foe-killed"] == 0:
		s.t.Error("the foe did nothing")
	}
}

// Each attribute is among those of the children, or there is a reason why not.
func TestEveryAttributeIsSoaked(t *testing.T) {
	others := map[string]string{
		"Syscalls":       "the caller's own",
		"PivotRoot":      "it takes another root",
		"KeepGroups":     "what becomes of Groups, which are among them",
		"AllowSetgroups": "the parent alone heeds it, in what it writes",
	}
	soaked := map[string]bool{}
	for i := range soakAttrs {
		c := &soakStart{s: &soaker{dir: t.TempDir(), cgroup: "/"}}
		soakAttrs[i].set(c, &c.attr)
		c.close()
		if c.byFD {
			c.attr.ExecFD = vspawn.FD(0)
		}
		for i, v := 0, reflect.ValueOf(c.attr); i < v.NumField(); i++ {
			if !v.Field(i).IsZero() {
				soaked[v.Type().Field(i).Name] = true
			}
		}
	}
	v := reflect.TypeFor[vspawn.Attr]()
	for i := range v.NumField() {
		if field := v.Field(i).Name; soaked[field] == (others[field] != "") {
			t.Errorf("Attr.%s: among the attributes: %v, and elsewhere: %q", field, soaked[field], others[field])
		}
	}
}
