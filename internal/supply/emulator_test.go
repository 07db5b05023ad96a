package supply

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/usage"
)

func emulatorScript(version string) string {
	return fmt.Sprintf("#!/bin/sh\necho 'QEMU emulator version %s (Debian)'\n", version)
}

// fakeEmulator makes a program that is of a version.
func fakeEmulator(t *testing.T, dir, name, version string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(emulatorScript(version)), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestMajorVersion(t *testing.T) {
	dir := t.TempDir()
	for version, want := range map[string]int{"7.2.9": 7, "10.0.2": 10} {
		fakeEmulator(t, dir, "emulator", version)
		if got, err := majorVersion(t.Context(), filepath.Join(dir, "emulator")); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", version, got, err, want)
		}
	}
	for _, program := range []string{"true", "false", filepath.Join(dir, "none")} {
		if got, err := majorVersion(t.Context(), program); err == nil {
			t.Errorf("%s is taken for an emulator of version %d", program, got)
		}
	}
}

// emulators adds a package with programs to the backports.
func (m *testMirror) emulators(version string, programs map[string]string) {
	files := map[string]string{"usr/share/doc/qemu-test": ""}
	for name, text := range programs {
		files["usr/bin/"+name] = text
	}
	m.add("bookworm-backports", pkg{"qemu-test", version, runtimeArch, "", files}, runtimeArch)
}

// Where the emulator will do, nothing is fetched; an old one is replaced by that
// of the backports, each program by itself.
func TestEmulator(t *testing.T) {
	m := newMirror(t)
	m.emulators("1:10.0.2", map[string]string{"qemu-test-a": emulatorScript("10.0.2"), "qemu-test-bad": "#!/nowhere/sh\n"})
	m.publish()
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	s := m.store()
	s.osRelease = filepath.Join(dir, "os-release")
	system := func(text string) {
		if err := os.WriteFile(s.osRelease, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	system("ID=debian\nVERSION_CODENAME=bookworm\n")
	var heard said
	check := func(program, want string, fresh bool, complaint string) {
		t.Helper()
		got, err := s.Emulator(t.Context(), program, "qemu-test|qemu-old", fresh, heard.report)
		if got != want || (err == nil) != (complaint == "") || err != nil && !strings.Contains(err.Error(), complaint) {
			t.Errorf("%q, %v; want %q, %q", got, err, want, complaint)
		}
	}
	const a = "qemu-test-a"
	fakeEmulator(t, dir, a, "10.0.1")
	check(a, a, false, "")
	fakeEmulator(t, dir, a, "7.2.9")
	system("ID=ubuntu\n")
	check(a, a, false, "")
	if err := os.Remove(s.osRelease); err != nil {
		t.Fatal(err)
	}
	check(a, a, false, "")
	if m.count("") != 0 {
		t.Errorf("the mirror was asked %d times", m.count(""))
	}
	system("ID=debian\nVERSION_CODENAME=bookworm\n")
	newer := filepath.Join(s.Dir, "emulators", "bookworm", a, a)
	// An older version of this program kept it by itself.
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(newer)), 0o755); err != nil {
		t.Fatal(err)
	}
	fakeEmulator(t, filepath.Dir(filepath.Dir(newer)), a, "10.0.0")
	check(a, newer, false, "")
	if v, err := majorVersion(t.Context(), newer); v != 10 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	fakeEmulator(t, dir, "qemu-test-bad", "7.2.9")
	fakeEmulator(t, dir, "qemu-test-none", "7.2.9")
	check("qemu-test-bad", "qemu-test-bad", false, "no newer qemu-test-bad: bookworm-backports: qemu-test is not what is wanted")
	check("qemu-test-none", "qemu-test-none", false, "qemu-test has no qemu-test-none")
	fakeEmulator(t, dir, "qemu-test-none", "none")
	check("qemu-test-none", "qemu-test-none", false, "no version of QEMU")

	// What is cached is used without asking; fresh finds what is newer.
	asked := m.count("")
	s.Close()
	check(a, newer, false, "")
	if m.count("") != asked {
		t.Error("the mirror was asked for what is cached")
	}
	delete(m.lists, listKey{"bookworm-backports", runtimeArch})
	m.emulators("1:11.0.0", map[string]string{a: emulatorScript("11.0.0")})
	m.publish()
	check(a, newer, true, "")
	if v, err := majorVersion(t.Context(), newer); v != 11 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	s.Close()
	m.server.Close()
	check(a, newer, true, "")
	heard.want(t, "keeping 1:11.0.0 of bookworm-backports: list for "+runtimeArch+": Could not connect")
	if err := os.Truncate(newer, 0); err != nil {
		t.Fatal(err)
	}
	check(a, a, false, "no newer qemu-test-a: bookworm-backports: list for "+runtimeArch+": Could not connect")
	if _, err := s.Emulator(t.Context(), a, "qemu-test", false, heard.report); !usage.Is(err) {
		t.Errorf("error: %v", err)
	}
}

// Where there is no newer emulator, and the installed one serves, not each run asks and
// waits for the tries: one in an hour does, and whoever looks for newer ones.
func TestNoEmulatorIsNoted(t *testing.T) {
	m := newMirror(t)
	m.emulators("1:10.0.2", map[string]string{"qemu-test-a": emulatorScript("10.0.2")})
	m.publish()
	dir, cache := t.TempDir(), t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	fakeEmulator(t, dir, "qemu-test-a", "7.2.9")
	system := filepath.Join(dir, "os-release")
	if err := os.WriteFile(system, []byte("ID=debian\nVERSION_CODENAME=bookworm\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.setHook(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	run := func(fresh, wantAsked, wantFound bool, texts ...string) {
		t.Helper()
		s := m.storeIn(cache) // each run has one
		defer s.Close()
		s.osRelease = system
		before := m.count("")
		got, err := s.Emulator(t.Context(), "qemu-test-a", "qemu-test", fresh, func(string, string) {})
		if asked := m.count("") > before; asked != wantAsked || (got != "qemu-test-a") != wantFound || (err == nil) != wantFound {
			t.Errorf("%q, %v; the mirror was asked: %v", got, err, asked)
		}
		for _, text := range texts {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("error %v; want %q", err, text)
			}
		}
		if removed, err := s.Prune(nil); err != nil || len(removed) > 0 {
			t.Errorf("removed %q, %v", removed, err)
		}
	}
	note := filepath.Join(cache, "emulators", "bookworm", "qemu-test-a.none")
	age := func(d time.Duration) {
		t.Helper()
		if err := os.Chtimes(note, time.Time{}, time.Now().Add(-d)); err != nil {
			t.Fatal(err)
		}
	}
	run(false, true, false, "503")
	age(5 * time.Minute)
	run(false, false, false, "503", "5m0s ago")
	run(true, true, false)
	age(askAgain + time.Second)
	run(false, true, false)
	age(-time.Minute)
	run(false, true, false)
	m.setHook(nil)
	run(false, false, false)
	run(true, true, true)
	if _, err := os.Stat(note); err == nil {
		t.Error("the note is still there")
	}
	run(false, false, true)
}

func TestDebianRelease(t *testing.T) {
	for text, want := range map[string]string{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n": "bookworm",
		"ID=\"debian\"\nVERSION_CODENAME='bookworm'\n":                                           "bookworm",
		"ID=debian\n": "", // unstable
		"ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=jammy\n": "",
		"": "",
	} {
		file := filepath.Join(t.TempDir(), "os-release")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := debianRelease(file); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if _, err := debianRelease(t.TempDir()); err == nil {
		t.Error("a directory is taken for the file")
	}
}
