package qemu

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/internal/arch"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// forever is longer than anyone looks at a guest, and short enough to be multiplied.
const forever = 10 * 365 * 24 * time.Hour

// maxSocket is how long a socket's path may be.
const maxSocket = 107

// GDBSocket is the path at which a target's guest waits for gdb. A socket of the file
// system is nobody's but the user's.
func GDBSocket(build string, t Target) (string, error) {
	socket := absolute(filepath.Join(build, t.Name, "gdb"))
	if n := len(socket); n > maxSocket {
		return "", usage.Errorf("GDB=1: the socket %s: its path has %d bytes, and may have %d: work in a folder with a shorter one", socket, n, maxSocket)
	}
	if strings.Contains(socket, ":") {
		return "", usage.Errorf("GDB=1: the socket %s: gdb takes what follows a : for a port: work in a folder without one", socket)
	}
	return socket, os.MkdirAll(filepath.Dir(socket), 0o755)
}

// checkGDB refuses GDB for more than one guest.
func (c *Config) checkGDB() error {
	if !c.GDB {
		return nil
	}
	guests := c.guests(c.Targets)
	if len(guests) == 1 {
		return nil
	}
	names := map[string]bool{}
	for _, t := range c.Targets {
		names[t.Name] = true
	}
	what := fmt.Sprintf("GDB=1 stops one guest, and these are %d: ", len(guests))
	switch {
	case len(names) > 1:
		return usage.Errorf("%schoose one target, such as TARGETS=%s", what, c.Targets[0].Name)
	case len(c.Targets) > 1:
		return usage.Errorf("%schoose one kernel, such as KERNELS=%s", what, c.Targets[0].Series)
	}
	return usage.Errorf("%schoose tests, such as RUN='^TestFiles$', or JOBS=1 for all of them in one", what)
}

// gdbText tells how gdb comes to the guest at socket, which will run suites.
func (c *Config) gdbText(t Target, socket string, suites []suite) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s waits for gdb. In another terminal:\n\n    %s\n\n", t.Title(), c.gdbCommand(t, socket, suites))
	fmt.Fprintf(&b, "quit leaves gdb, and the guest goes on; kill ends it.\n")
	if t.NoMMU {
		fmt.Fprintf(&b, "Without an MMU a program is where there was room for it: give gdb that address by add-symbol-file.\n")
	}
	for _, s := range suites {
		fmt.Fprintf(&b, "symbols of %s: %s\n", s.Name, gdbWord(absolute(s.host)))
	}
	return b.String()
}

// gdbCommand is a shell's command that lets the guest go until a test begins, the
// first of those that are to run. The breakpoint is the machine's, as there is no
// memory yet to put one into.
func (c *Config) gdbCommand(t Target, socket string, suites []suite) string {
	words := []string{
		gdbProgram(t), "-q",
		"-ex", "set architecture " + arch.Of(t.GOARCH).GDB,
		"-ex", "set substitute-path github.com/vspawn/vspawn " + gdbWord(absolute(c.Dir)),
		"-ex", "target remote " + socket,
	}
	if file, symbol := c.firstTest(suites); symbol != "" && !t.NoMMU {
		words = append(words, "-ex", fmt.Sprintf("hbreak '%s'", symbol), "-ex", "continue", absolute(file))
	}
	return shellLine(words)
}

// gdbProgram is a gdb that knows the target's architecture.
func gdbProgram(t Target) string {
	if t.GOARCH == runtime.GOARCH {
		if _, err := exec.LookPath("gdb"); err == nil {
			return "gdb"
		}
	}
	return "gdb-multiarch" // Debian's package has this name too
}

// firstTest is the first test that a guest will run: its binary and its symbol there.
func (c *Config) firstTest(suites []suite) (file, symbol string) {
	part := max(c.Shard.I-1, 0)
	selector, err := wire.NewSelector(c.Run, part, c.Shard.N)
	if err != nil { // which check has found
		return "", ""
	}
	for _, s := range suites {
		if chosen := selector.ChooseOf(&s.Binary, slices.Sorted(slices.Values(s.tests))); len(chosen) > 0 {
			return s.host, testSymbol(s.host, chosen[0])
		}
	}
	return "", ""
}

// testSymbol is what a test binary calls a test, or "" if it has no such symbol.
func testSymbol(file, test string) string {
	f, err := elf.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	symbols, _ := f.Symbols() // none, if they are stripped
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && strings.HasSuffix(s.Name, "."+test) {
			return s.Name
		}
	}
	return ""
}

// gdbWord is what gdb takes for one word of a command.
func gdbWord(s string) string {
	if !strings.ContainsAny(s, " \t\n'\"\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// shellLine is what a shell parts into words.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=,:") != "" || w == "" {
			quoted[i] = shellQuote(w)
		}
	}
	return strings.Join(quoted, " ")
}
