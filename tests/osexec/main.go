// Osexec runs programs that others wrote for os/exec against vspawn/exec: the
// standard library's own tests of os/exec, and the tests of some modules.
//
// Synopsis:
//
//	go run ./tests/osexec [-v] [os/exec|MODULE]...
//
// Description:
//
//	Each gets a scratch copy in a temporary directory, in which vspawn-migrate
//	changes the imports; the tests are as they were. The module's
//	dependencies are fetched by the go command. A test that is skipped has to
//	be in the table below, with the reason, and one in the table has to be
//	skipped. The exit status is 1 if a test fails.
//
// Options:
//
//	-v  show the output of the tests
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

const module = "github.com/vspawn/vspawn"

// A subject is a set of tests.
type subject struct {
	name    string // what to ask for: os/exec, or a module with its version
	prepare func(r *run, name string) error
	skip    map[string]string // the tests that can't run, and why

	packages string // those whose tests are about processes; "" is all
}

var subjects = []subject{
	{name: standard, prepare: (*run).standard, skip: map[string]string{
		"TestDedupEnv":          "it calls the unexported dedupEnvCase; vspawn/exec has TestUnique",
		"TestPrefixSuffixSaver": "it uses the unexported prefixSuffixSaver; vspawn/exec has TestExcerpt",
	}},
	{name: "github.com/creack/pty@v1.1.24", prepare: (*run).module},
	{name: "github.com/bitfield/script@v0.25.2", prepare: (*run).module},
	{name: "mvdan.cc/sh/v3@v3.12.0", prepare: (*run).module, packages: "./interp", skip: map[string]string{
		"TestMalformedPathOnWindows": "for Windows",
	}},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	verbose := flag.Bool("v", false, "show the output of the tests")
	flag.Parse()
	chosen, err := choose(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "osexec:", err)
		os.Exit(2)
	}
	status := 0
	for _, s := range chosen {
		if err := s.run(ctx, *verbose); err != nil {
			fmt.Printf("FAIL %s: %v\n", s.name, err)
			status = 1
		}
	}
	os.Exit(status)
}

func choose(names []string) (chosen []subject, err error) {
	if len(names) == 0 {
		return subjects, nil
	}
	for _, name := range names {
		i := slices.IndexFunc(subjects, func(s subject) bool {
			path, _, _ := strings.Cut(s.name, "@")
			return name == s.name || name == path
		})
		if i < 0 {
			return nil, fmt.Errorf("unknown subject %q", name)
		}
		chosen = append(chosen, subjects[i])
	}
	return chosen, nil
}

// A run is one subject's.
type run struct {
	ctx  context.Context
	root string // of vspawn's own workspace
	dir  string // the scratch copy
}

func (s *subject) run(ctx context.Context, verbose bool) error {
	tmp, err := os.MkdirTemp("", "osexec-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	r := &run{ctx: ctx, root: ".", dir: filepath.Join(tmp, "src")}
	if err := os.Mkdir(r.dir, 0o777); err != nil {
		return err
	}
	root, err := r.output(r.root, "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	r.root = strings.TrimSpace(string(root))
	command := filepath.Join(tmp, "vspawn-migrate")
	if _, err := r.output(r.root, "go", "build", "-o", command, "./cmd/vspawn-migrate"); err != nil {
		return err
	}
	if err := s.prepare(r, s.name); err != nil {
		return err
	}
	if _, err := r.output(r.dir, command, "./..."); err != nil {
		return err
	}
	results, err := r.test(cmp.Or(s.packages, "./..."), verbose)
	if err != nil {
		return err
	}
	return results.judge(s)
}

// command is one that is stopped with its children when the context ends.
func (r *run) command(dir string, argv ...string) *exec.Cmd {
	c := exec.CommandContext(r.ctx, argv[0], argv[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(),
		// Or the runtime keeps files of a cgroup v1 open, and TestExtraFiles
		// does not trust itself.
		"GODEBUG=containermaxprocs=0")
	if dir != r.root {
		c.Env = append(c.Env, "GOFLAGS=-mod=mod", "GOWORK=off")
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := vspawn.Features(); err == nil {
		c.Attr = &vspawn.Attr{} // no descriptor of ours gets to the tests
	}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	return c
}

func (r *run) output(dir string, argv ...string) ([]byte, error) {
	c := r.command(dir, argv...)
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, out, exit.Stderr)
	}
	return out, err
}

// results are tests by what came of them: "pass", "skip", "fail".
type results struct {
	tests map[string][]string
	said  map[string]*bytes.Buffer
	log   bytes.Buffer // what no test said: of a build that failed, say
}

func (r *run) test(packages string, verbose bool) (*results, error) {
	c := r.command(r.dir, "go", "test", "-json", "-vet=off", "-count=1", packages)
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		return nil, err
	}
	res := &results{tests: map[string][]string{}, said: map[string]*bytes.Buffer{}}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e struct{ Action, Package, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(&res.log, lines.Text())
			continue
		}
		if verbose {
			io.WriteString(os.Stdout, e.Output)
		}
		switch {
		case e.Test == "":
			res.log.WriteString(e.Output)
		case e.Action == "output":
			if res.said[e.Test] == nil {
				res.said[e.Test] = new(bytes.Buffer)
			}
			res.said[e.Test].WriteString(e.Output)
		case e.Action == "pass" || e.Action == "skip" || e.Action == "fail":
			res.tests[e.Action] = append(res.tests[e.Action], e.Test)
		}
	}
	if err := errors.Join(lines.Err(), c.Wait()); err != nil && len(res.tests["fail"]) == 0 {
		return nil, fmt.Errorf("%w\n%s", err, &res.log)
	}
	return res, nil
}

// judge prints the figures, and tells what is wrong.
func (res *results) judge(s *subject) error {
	passed, failed, skipped := res.tests["pass"], res.tests["fail"], res.tests["skip"]
	out := 0
	for t := range s.skip {
		if !slices.Contains(skipped, t) {
			out++
		}
	}
	fmt.Printf("%s: %d run, %d passed, %d failed, %d skipped, %d left out\n", s.name,
		len(passed)+len(failed), len(passed), len(failed), len(skipped), out)
	var errs []error
	for _, t := range failed {
		errs = append(errs, fmt.Errorf("%s failed:\n%s", t, res.said[t]))
	}
	for _, t := range skipped {
		if s.skip[t] == "" {
			errs = append(errs, fmt.Errorf("%s was skipped, and the table has no reason:\n%s", t, res.said[t]))
		}
	}
	for _, t := range slices.Sorted(maps.Keys(s.skip)) {
		fmt.Printf("  not run: %s: %s\n", t, s.skip[t])
		if slices.Contains(passed, t) {
			errs = append(errs, fmt.Errorf("%s is in the table of what can't run, but passed", t))
		}
	}
	if len(passed) == 0 {
		errs = append(errs, errors.New("no test passed"))
	}
	return errors.Join(errs...)
}
