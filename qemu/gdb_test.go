package qemu

import (
	"debug/elf"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// gdb stops one guest: of several it is to be said which.
func TestGDBStopsOne(t *testing.T) {
	a, b := Target{Name: "a", Series: "6.1"}, Target{Name: "b"}
	older := a
	older.Series = "5.10"
	for _, x := range []struct {
		targets []Target
		run     string
		jobs    int
		want    string // in the error
	}{
		{[]Target{a}, "TestX", 2, ""},
		{[]Target{a}, "", 1, ""},
		{[]Target{a}, "", 2, "choose tests, such as RUN="},
		{[]Target{a, older}, "TestX", 1, "choose one kernel, such as KERNELS=6.1"},
		{[]Target{b, a}, "TestX", 1, "choose one target, such as TARGETS=b"},
	} {
		c := Config{Targets: x.targets, Run: x.run, Jobs: x.jobs, GDB: true}
		err := c.checkGDB()
		if (err == nil) != (x.want == "") || err != nil && (!usage.Is(err) || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%d targets, RUN=%s, JOBS=%d: %v; want %q", len(x.targets), x.run, x.jobs, err, x.want)
		}
		c.GDB = false
		if err := c.checkGDB(); err != nil {
			t.Errorf("without gdb: %v", err)
		}
	}
}

// A socket has a path that its name has room for.
func TestGDBSocket(t *testing.T) {
	build := t.TempDir()
	if _, err := GDBSocket(build, Targets[0]); err != nil {
		t.Error(err)
	}
	if socket, err := GDBSocket(build+strings.Repeat("/x", 50), Targets[0]); !usage.Is(err) {
		t.Errorf("%s: error %v", socket, err)
	}
	if socket, err := GDBSocket(build+"/a:b", Targets[0]); !usage.Is(err) {
		t.Errorf("%s, which gdb takes for a port: error %v", socket, err)
	}
}

// gdb takes a path for one word, whatever is in it.
func TestGDBWord(t *testing.T) {
	gdb, err := exec.LookPath("gdb")
	if err != nil {
		t.Skip("there is no gdb here")
	}
	for _, dir := range []string{"/a", "/a b", `/it's "so"\n`, "/a\tb"} {
		out, err := exec.Command(gdb, "-nx", "-q", "-batch", "-ex", "set substitute-path from "+gdbWord(dir), "-ex", "show substitute-path").CombinedOutput()
		if want := "  `from' -> `" + dir + "'.\n"; err != nil || !strings.HasSuffix(string(out), want) {
			t.Errorf("%q: gdb says %q, %v; want %q", dir, out, err, want)
		}
	}
}

// The command has all that gdb must know, in one line that a shell takes.
func TestGDBCommand(t *testing.T) {
	load, err := compile(t.Context(), testToolchain(), []Suite{{Package: "./qemu/testdata/misbehave"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	target, _ := lookup(testTarget)
	c := Config{Dir: "/a b", Run: "TestSkip|TestPass"}
	line := c.gdbCommand(target, "/dir/gdb", load.suites)
	words, err := ParseArgs(line)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		gdbProgram(target), "-q", "-ex", "set architecture aarch64", "-ex", `set substitute-path github.com/vspawn/vspawn "/a b"`,
		"-ex", "target remote /dir/gdb", "-ex", "hbreak 'github.com/vspawn/vspawn/qemu/testdata/misbehave.TestPass'", "-ex", "continue", load.suites[0].host,
	}
	if !slices.Equal(words, want) {
		t.Errorf("%s\nis %q\nwant %q", line, words, want)
	}
	text := c.gdbText(target, "/dir/gdb", load.suites)
	for _, s := range load.suites {
		if !strings.Contains(text, "symbols of "+s.Name+": "+s.host+"\n") {
			t.Errorf("nothing of %s in\n%s", s.Name, text)
		}
		f, err := elf.Open(s.host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.DWARF(); err != nil {
			t.Errorf("%s: %v", s.host, err)
		}
		f.Close()
	}
	target.NoMMU = true
	if line := c.gdbCommand(target, "/dir/gdb", load.suites); strings.Contains(line, "hbreak") {
		t.Errorf("a breakpoint where nothing says what is there: %s", line)
	}
}

// What starts is the line that the pure function gives, word by word, and a guest that
// somebody looks at has all the time in the world.
func TestRealLine(t *testing.T) {
	for _, gdb := range []bool{true, false} {
		c := fakeConfig(t, "dawdles")
		file := c.Build + "/line"
		t.Setenv(fakeLine, file)
		c.Run = "Test" // in one guest
		c.Append = `a="b c"`
		c.Args = []string{"-name", "a  'b", ""}
		if c.GDB = gdb; gdb {
			c.Limits.Total = time.Second
		}
		results, err := Run(t.Context(), c)
		if err != nil || len(results) != 1 || !results[0].Passed() {
			t.Fatalf("%v, %+v", err, results)
		}
		target := c.Targets[0]
		b := Boot{
			Kernel: c.Kernels[target.Name].Kernel, Initramfs: c.imagePath(target), Init: agentInit,
			Append: []string{c.Append, wire.ShardEnv + "=1/1"}, Args: c.Args,
		}
		if gdb {
			b.GDB = absolute(c.Build + "/" + target.Name + "/gdb")
		}
		line := target.testCommand(b, portFile)
		want := line[slices.Index(line, target.QEMU):]
		real, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(strings.TrimSuffix(string(real), "\x00"), "\x00"); !slices.Equal(got, want) {
			t.Errorf("what ran is\n%q\nwant\n%q", got, want)
		}
		out, err := os.ReadFile(c.Out.Name())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), "target remote "+b.GDB+"'") != gdb {
			t.Errorf("gdb's command is not as it should be in\n%s", out)
		}
	}
}
