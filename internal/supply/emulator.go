package supply

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/usage"
)

// slowQEMU is the last major version of QEMU that is replaced if it can be:
// Debian 12 has 7.2, and 10.0 among its backports, which takes three quarters of
// the time for our tests with an MMU, and half of it on riscv64.
const slowQEMU = 7

// Emulator returns the path of an emulator that is not old: program itself, or, on
// Debian, one from the backports of the machine's own release, where pkg has
// it. That one uses the libraries and the firmware of the installed one, which
// stays as it is. What is cached is used without asking anyone, unless fresh is
// set. program is good to run also if there is an error.
//
// Where the package's name depends on the release, pkg holds all of them, newest
// first, separated by "|".
func (s *Store) Emulator(ctx context.Context, program, pkg string, fresh bool,
	report func(phase, detail string)) (path string, err error) {
	major, err := majorVersion(ctx, program)
	if err != nil || major > slowQEMU {
		return program, err
	}
	release, err := debianRelease(s.release())
	if err != nil || release == "" {
		return program, err
	}
	pkg, _, _ = strings.Cut(pkg, "|")
	e := emulator{program: filepath.Base(program), pkg: pkg, release: release}
	s.mu.Lock()
	if s.asked == nil {
		s.asked = map[string]bool{}
	}
	s.asked[e.entry("")] = true
	s.mu.Unlock()
	note := s.path(e.entry("") + noneNote)
	if !fresh && !s.Has(ctx, e) {
		if err := notedNone(note); err != nil {
			return program, err
		}
	}
	k, err := s.Get(ctx, e, fresh, report)
	if none := new(NotServed); errors.As(err, &none) {
		// Where it can't be noted, it is asked for again.
		if os.MkdirAll(filepath.Dir(note), 0o755) == nil {
			os.WriteFile(note, []byte(none.text), 0o644)
		}
	}
	if err != nil {
		return program, err
	}
	os.Remove(note)
	return k.Path, nil
}

// noneNote ends the name of a file with the reason why there is none.
const noneNote = ".none"

// askAgain is how long it holds that no suite has a newer emulator. The installed one
// serves as well, but for the time it takes, and a machine without a network would
// pay for all tries in each run.
const askAgain = time.Hour

// notedNone gives the error that was noted, if it still holds.
func notedNone(note string) error {
	fi, err := os.Stat(note)
	if err != nil {
		return nil
	}
	left := askAgain - time.Since(fi.ModTime())
	text, err := os.ReadFile(note)
	if err != nil || left <= 0 || left > askAgain { // or the clock was set
		return nil
	}
	return &usage.Error{Err: &NotServed{fmt.Sprintf("%s (as it was %v ago; after %v it is asked for again)",
		text, (askAgain - left).Round(time.Minute), askAgain)}}
}

// An emulator is a Spec of a program.
type emulator struct{ program, pkg, release string }

func (e emulator) Tools() []host.Tool { return fetchTools() }

// From implements Spec. There is one suite alone.
func (e emulator) From([]Suite) Spec { return e }

func (e emulator) about() about {
	return about{
		what:   "newer " + e.program,
		kind:   "emulator",
		arch:   debianArch(runtime.GOARCH),
		tools:  programs,
		suites: []Suite{{Name: e.release + "-backports"}},
	}
}

func (e emulator) entry(string) string { return filepath.Join("emulators", e.release, e.program) }

func (e emulator) find(ctx context.Context, a *apt, _ []string) (found, error) {
	fields, err := a.show(ctx, e.pkg, a.arch)
	return found{pkg: e.pkg, version: fields["Version"], debs: []deb{{e.pkg, a.arch}}}, err
}

func (e emulator) build(ctx context.Context, j *job) error {
	err := inPackage(ctx, j.debs[0], func(name string, r io.Reader) error {
		if name != "/usr/bin/"+e.program {
			return nil
		}
		j.record.File = e.program
		return cmp.Or(save(filepath.Join(j.dir, e.program), r, 0o755), errFound)
	})
	if err == nil && j.record.File == "" {
		err = &unserved{fmt.Sprintf("%s has no %s", e.pkg, e.program), true}
	}
	return err
}

// check runs it: one that lacks a library says so here.
func (e emulator) check(ctx context.Context, k Kernel) error {
	_, err := majorVersion(ctx, k.Path)
	return err
}

var emulatorVersion = regexp.MustCompile(`^QEMU emulator version (\d+)\.`)

func majorVersion(ctx context.Context, program string) (int, error) {
	out, err := host.Output(exec.CommandContext(ctx, program, "--version"))
	if err != nil {
		return 0, err
	}
	m := emulatorVersion.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s --version says %q, and no version of QEMU", program, out)
	}
	return strconv.Atoi(string(m[1]))
}

// debianRelease is the code name that an os-release file gives, or "" if the
// system is not Debian itself.
func debianRelease(file string) (string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	values := map[string]string{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	if values["ID"] != "debian" {
		return "", s.Err()
	}
	return values["VERSION_CODENAME"], s.Err()
}
