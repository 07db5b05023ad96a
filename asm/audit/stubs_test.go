package audit

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const asm = "github.com/vspawn/vspawn/asm."

// executable is a program of testdata, built for one architecture.
type executable struct {
	*architecture
	text    []byte
	start   uint64 // of text
	symbols map[string]elf.Symbol
}

func build(t *testing.T, arch *architecture, program string, flags ...string) *executable {
	t.Helper()
	path := filepath.Join(t.TempDir(), program)
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, flags, []string{"./testdata/" + program})...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=", "GOARCH="+arch.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	section := file.Section(".text")
	text, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	e := &executable{arch, text, section.Addr, map[string]elf.Symbol{}}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			e.symbols[s.Name] = s
		}
	}
	return e
}

// function finds one by name. The stubs' names end in .abi0, for Go's stack
// based calling convention; without it, it is the name of a wrapper.
func (e *executable) function(t *testing.T, name string) *function {
	t.Helper()
	s, ok := e.symbols[name]
	if !ok {
		t.Fatalf("the program has no function %s", name)
	}
	from := s.Value - e.start
	return &function{e.architecture, name, e.text[from : from+s.Size]}
}

// callees are the names of what the function calls.
func (e *executable) callees(t *testing.T, name string) (names []string) {
	t.Helper()
	targets, err := calls(e.function(t, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		at := e.symbols[name].Value + uint64(target)
		for _, s := range e.symbols {
			if s.Value == at {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

func TestStubs(t *testing.T) {
	for _, arch := range architectures {
		t.Run(arch.name, func(t *testing.T) {
			t.Parallel()
			e := build(t, arch, "probe")
			if err := auditSpawn(e.function(t, asm+"spawn.abi0")); err != nil {
				t.Errorf("spawn%v", err)
			}
			if err := auditVfork(e.function(t, asm+"Vfork.abi0")); err != nil {
				t.Errorf("Vfork%v", err)
			}
		})
	}
}

// Vfork works only if it is called without an ABI wrapper (golang/go#71892),
// and Spawn must call nothing that may find the thread without a P.
func TestCallers(t *testing.T) {
	for _, arch := range architectures {
		for name, flags := range map[string][]string{
			"inlining":   nil,
			"noinlining": {"-gcflags=github.com/vspawn/vspawn/...=-l"},
		} {
			t.Run(arch.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				e := build(t, arch, "probe", flags...)
				if got := e.callees(t, "main.callVfork"); !slices.Contains(got, asm+"Vfork.abi0") {
					t.Errorf("a direct call of Vfork calls %q", got)
				}
				// Its address was taken, so it has a wrapper too.
				if got := e.callees(t, asm+"Vfork"); !slices.Contains(got, asm+"Vfork.abi0") {
					t.Errorf("the wrapper of Vfork calls %q, and this test can no longer tell the two", got)
				}
				want := []string{"runtime.entersyscall", asm + "spawn.abi0", "runtime.exitsyscall"}
				if got := e.callees(t, asm+"Spawn"); !slices.Equal(got, want) {
					t.Errorf("Spawn calls %q, want %q", got, want)
				}
			})
		}
	}
}

// The audit has a decoder for each architecture that has stubs. The files tell which
// these are: the module at the top is none of what this one requires.
func TestArchitectures(t *testing.T) {
	var got, want []string
	for _, a := range architectures {
		got = append(got, a.name)
	}
	files, err := filepath.Glob("../asm_linux_*.s")
	if err != nil || len(files) == 0 {
		t.Fatalf("stubs: %q, %v", files, err)
	}
	for _, file := range files {
		name, _ := strings.CutSuffix(filepath.Base(file), ".s")
		want = append(want, strings.TrimPrefix(name, "asm_linux_"))
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("there are decoders for %q, and stubs for %q", got, want)
	}
}

// The audit finds each fault that it is there to find, on every architecture.
func TestBadStubs(t *testing.T) {
	// SP and g stand for the architecture's names of the two.
	spawns := map[string]string{
		"spawnPushes":      `pushes|uses SP`,
		"spawnPops":        `pops|uses SP`,
		"spawnCalls":       `the child calls`,
		"spawnReturns":     `the child returns`,
		"spawnReturnsLate": `the child returns`,
		"spawnStores":      `uses SP`,
		"spawnMovesSP":     `uses SP`,
		"spawnAlias":       `uses SP`,
		"spawnEarly":       `uses SP`,
		"spawnG":           `uses g`,
		"spawnJumps":       `cannot follow`,
		"spawnLeaves":      `leaves the function`,
		"spawnGarbage":     `cannot be decoded`,
		"spawnUnparted":    `must part`,
	}
	vforks := map[string]string{
		"vforkStacks":  `in memory|in that register|uses the stack`,
		"vforkCalls":   `one way`,
		"vforkLoses":   `destroys|in that register`,
		"vforkForgets": `not put back|in that register`,
		"vforkTwice":   `second system call`,
	}
	for _, arch := range architectures {
		t.Run(arch.name, func(t *testing.T) {
			t.Parallel()
			e := build(t, arch, "bad")
			check := func(names map[string]string, audit func(*function) error) {
				for name, want := range names {
					want = strings.NewReplacer("uses SP", "uses "+arch.sp.String(), "uses g", "uses "+arch.g.String()).Replace(want)
					err := audit(e.function(t, "main."+name+".abi0"))
					if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
						t.Errorf("%s: complaint %v, want one that matches %q", name, err, want)
					} else {
						t.Logf("%s%v", name, err)
					}
				}
			}
			check(spawns, auditSpawn)
			check(vforks, auditVfork)
		})
	}
}
