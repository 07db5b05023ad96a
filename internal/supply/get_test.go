package supply

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/usage"
)

func ctxOfChild() context.Context { return context.Background() }

// become gives up being root.
func become(uid int) error {
	if uid == 0 {
		return nil
	}
	return syscall.Setuid(uid)
}

// mustGet wants a kernel that is whole.
func mustGet(t *testing.T, s *Store, p Spec, fresh bool) (Kernel, *said) {
	t.Helper()
	var heard said
	k, err := s.Get(t.Context(), p, fresh, heard.report)
	if err != nil {
		t.Fatalf("%v; said:\n%s", err, strings.Join(heard.lines, "\n"))
	}
	if err := CheckMagic(imageMagic, k.Path); err != nil {
		t.Error(err)
	}
	return k, &heard
}

// mustFail wants an error that the user can mend, of one line with all texts, soon.
func mustFail(t *testing.T, s *Store, p Spec, fresh bool, texts ...string) *said {
	t.Helper()
	var heard said
	start := time.Now()
	k, err := s.Get(t.Context(), p, fresh, heard.report)
	if d := time.Since(start); d > time.Minute {
		t.Errorf("it took %v", d)
	}
	if !usage.Is(err) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error: %v, kernel %+v", err, k)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error: %v; want %q in it", err, text)
		}
	}
	if entries, err := filepath.Glob(filepath.Join(s.Dir, "kernels", "*")); err != nil || len(entries) > 0 {
		t.Errorf("in the cache: %v, %v", entries, err)
	}
	return &heard
}

// A list that is out of step concerns the one architecture.
func TestListOutOfStep(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.kernel("trixie", "riscv64", "6.12.5", nil)
	m.publish()
	m.change(listName("trixie", "riscv64"), "\n")
	s := m.store()
	heard := mustFail(t, s, spec("riscv64", "trixie"), false, "no linux-image-riscv64 for riscv64: trixie: list for riscv64: File has unexpected size", "try again later")
	heard.want(t, "trixie's list for riscv64: File has unexpected size", "trying again in 1ms (2 of 3)", "(3 of 3)")
	if n := m.count("binary-riscv64"); n != 3 {
		t.Errorf("the list was asked for %d times", n)
	}
	k, _ := mustGet(t, s, spec("amd64", "trixie"), false)
	if k.Package != "linux-image-6.12.5-amd64" || k.Version != "6.12.5-1" || k.Suite != "trixie" || k.File != "vmlinuz-6.12.5-amd64" || k.Passed != nil {
		t.Errorf("%+v", k)
	}
	// Others who need the list learn at once that it can't be had.
	mustGetNothing := spec("riscv64", "trixie")
	mustGetNothing.Package = "linux-image-other"
	if _, err := s.Get(t.Context(), mustGetNothing, false, heard.report); err == nil || m.count("binary-riscv64") != 3 {
		t.Errorf("error %v; the list was asked for %d times", err, m.count("binary-riscv64"))
	}
	s.Close()
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What is in the cache needs no tool.
func TestHas(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	s := m.store()
	if s.Has(t.Context(), spec("amd64", "trixie")) {
		t.Error("an empty cache has it")
	}
	mustGet(t, s, spec("amd64", "trixie"), false)
	noAPT(t)
	if !s.Has(t.Context(), spec("amd64", "trixie")) || s.Has(t.Context(), spec("amd64", "forky")) {
		t.Error("the cache does not know what it has")
	}
}

func TestListRightAtSecondTry(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "riscv64", "6.12.5", nil)
	m.publish()
	used := false
	m.setHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "binary-riscv64") || used {
			return false
		}
		used = true
		fmt.Fprint(w, "Package: none\n")
		return true
	})
	k, heard := mustGet(t, m.store(), spec("riscv64", "trixie", "forky"), false)
	heard.want(t, "trying again in 1ms (2 of 3)")
	if k.Suite != "trixie" || k.Passed != nil || heard.has("3 of 3") {
		t.Errorf("%+v; said %q", k, heard.lines)
	}
}

// The next suite serves, the kernel says why, and so does the cached one; those
// who ask for it by another list of suites share it.
func TestNextSuite(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "riscv64", "6.12.5", nil)
	m.kernel("forky", "riscv64", "7.2.1", nil)
	m.publish()
	m.change(listName("trixie", "riscv64"), "\n")
	s := m.store()
	p := spec("riscv64", "trixie", "forky")
	k, heard := mustGet(t, s, p, false)
	heard.want(t, "trixie: list for riscv64: File has unexpected size", "; asking forky")
	check := func(k Kernel) {
		t.Helper()
		if k.Suite != "forky" || k.Version != "7.2.1-1" || len(k.Passed) != 1 || !strings.HasPrefix(k.Passed[0], "trixie: list for riscv64: File has unexpected size") {
			t.Errorf("%+v", k)
		}
	}
	check(k)
	m.server.Close()
	noAPT(t)
	k, heard = mustGet(t, m.storeIn(s.Dir), p, false)
	check(k)
	if len(heard.lines) > 0 {
		t.Errorf("said %q", heard.lines)
	}
	// Nobody has asked sid yet.
	if k, err := m.storeIn(s.Dir).Get(t.Context(), spec("riscv64", "sid", "forky"), false, func(string, string) {}); err == nil {
		t.Errorf("%+v stands in for a suite that was not asked", k)
	}
}

// What is cached since it was asked for by name stands in for another once that
// was asked, and then without asking again.
func TestStandIn(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "riscv64", "6.12.5", nil)
	m.kernel("forky", "riscv64", "7.2.1", nil)
	m.publish()
	s := m.store()
	mustGet(t, s, spec("riscv64", "forky"), false)
	p := spec("riscv64", "trixie", "forky")
	if k, _ := mustGet(t, s, p, false); k.Suite != "trixie" {
		t.Errorf("%+v", k)
	}
	m.change(listName("trixie", "riscv64"), "\n")
	s = m.store()
	mustGet(t, s, spec("riscv64", "forky"), false)
	check := func(k Kernel) {
		t.Helper()
		if k.Suite != "forky" || len(k.Passed) != 1 || !strings.HasPrefix(k.Passed[0], "trixie: list for riscv64: File has") {
			t.Errorf("%+v", k)
		}
	}
	k, _ := mustGet(t, s, p, false)
	check(k)
	noAPT(t)
	k, heard := mustGet(t, m.storeIn(s.Dir), p, false)
	check(k)
	if len(heard.lines) > 0 {
		t.Errorf("said %q", heard.lines)
	}
}

// A fresh look takes the first suite again, when it can.
func TestFreshLeavesFallback(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "riscv64", "6.12.5", nil)
	m.kernel("forky", "riscv64", "7.2.1", nil)
	m.publish()
	m.change(listName("trixie", "riscv64"), "\n")
	s := m.store()
	p := spec("riscv64", "trixie", "forky")
	mustGet(t, s, p, false)
	m.publish()
	if k, _ := mustGet(t, m.storeIn(s.Dir), p, true); k.Suite != "trixie" || k.Passed != nil {
		t.Errorf("%+v", k)
	}
}

// What can't be had of a suite for good is not tried again.
func TestNotServed(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.kernel("wrong", "amd64", "6.1.5", nil)
	m.kernel("gone", "amd64", "6.12.6", nil)
	m.add("empty", pkg{"other", "1", "amd64", "", nil}, "amd64")
	m.add("alone", pkg{"linux-image-amd64", "1", "amd64", "linux-base", nil}, "amd64")
	m.add("dangling", pkg{"linux-image-amd64", "1", "amd64", "linux-image-9", nil}, "amd64")
	m.add("hollow", pkg{"linux-image-9", "1", "amd64", "", nil}, "amd64")
	m.add("hollow", pkg{"linux-image-amd64", "1", "amd64", "linux-image-9", nil}, "amd64")
	m.add("foreign", pkg{"linux-image-8", "1", "amd64", "", map[string]string{"boot/vmlinux": "other"}}, "amd64")
	m.add("foreign", pkg{"linux-image-amd64", "1", "amd64", "linux-image-8", nil}, "amd64")
	m.publish()
	if err := os.Remove(filepath.Join(m.dir, "pool/linux-image-6.12.6-amd64_6.12.6-1_amd64.deb")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ arch, suite, reason string }{
		{"amd64", "none", "list for amd64: The repository"},
		{"amd64", "empty", "it has no linux-image-amd64 for amd64"},
		{"arm64", "trixie", "it has no linux-image-arm64 for arm64"},
		{"386", "trixie", "it has no linux-image-i386 for i386"},
		{"amd64", "wrong=6.12", "it has 6.1.5-1, not 6.12"},
		{"amd64", "gone", "linux-image-6.12.6-amd64: 404 Not Found: "},
		{"amd64", "alone", "linux-image-amd64 depends on no kernel's package"},
		{"amd64", "dangling", "it has no linux-image-9 for amd64"},
		{"amd64", "hollow", "linux-image-9 has no kernel image"},
		{"amd64", "foreign", "vmlinux of linux-image-8 is no kernel image for amd64"},
	} {
		name, _, _ := strings.Cut(c.suite, "=")
		heard := mustFail(t, m.store(), spec(c.arch, c.suite), false, name+": "+c.reason)
		if heard.has("trying again") {
			t.Errorf("%s: said %q", c.suite, heard.lines)
		}
		if name != "none" && name != "wrong" && name != "gone" {
			continue // all go on alike
		}
		k, heard := mustGet(t, m.store(), spec(c.arch, c.suite, "trixie=6.12"), false)
		if len(k.Passed) != 1 || !strings.HasPrefix(k.Passed[0], name+": "+c.reason) || k.Suite != "trixie" {
			t.Errorf("%+v", k)
		}
		heard.want(t, "; asking trixie")
	}
}

// A package that is other than the signed list says is not used.
func TestPackageChanged(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	const name = "pool/linux-image-6.12.5-amd64_6.12.5-1_amd64.deb"
	m.change(name, "")
	heard := mustFail(t, m.store(), spec("amd64", "trixie"), false, "trixie: linux-image-6.12.5-amd64: Hash Sum mismatch")
	heard.want(t, "trixie's linux-image-6.12.5-amd64: Hash Sum mismatch; trying again in 1ms (2 of 3)")
	m.change(name, "longer")
	mustFail(t, m.store(), spec("amd64", "trixie"), false, "trixie: linux-image-6.12.5-amd64: File has unexpected size")
}

// Only who has the key may say what the packages are.
func TestSignature(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publishAs(users[1])
	mustFail(t, m.store(), spec("amd64", "trixie"), false, "trixie: list for amd64: The following signatures couldn't be verified", "NO_PUBKEY")

	m.publish()
	file := filepath.Join(m.dir, "dists/trixie/InRelease")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m.write("dists/trixie/InRelease", strings.Replace(string(b), "Suite: trixie", "Suite: other", 1))
	mustFail(t, m.store(), spec("amd64", "trixie"), false, "trixie: list for amd64: The following signatures were invalid: BADSIG")

	// Neither is a signature left out.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	mustFail(t, m.store(), spec("amd64", "trixie"), false, "trixie: list for amd64: The repository", "is not signed")

	// And no other keyring is asked.
	keyrings, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	m.publish()
	s := m.store()
	s.Mirror.Keyring = keyrings[1]
	mustFail(t, s, spec("amd64", "trixie"), false, "NO_PUBKEY")
	s.Mirror.Keyring = "/nowhere/keyring.gpg"
	mustFail(t, m.storeWith(s.Mirror), spec("amd64", "trixie"), false, "/nowhere/keyring.gpg is missing")
	mustGet(t, m.store(), spec("amd64", "trixie"), false)
}

func (m *testMirror) storeWith(mirror Mirror) *Store {
	s := m.store()
	s.Mirror = mirror
	return s
}

// apt takes a directory for a mirror, too.
func TestMirrorDirectory(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	mirror := m.mirror()
	mirror.URI = "file:" + m.dir
	mustGet(t, m.storeWith(mirror), spec("amd64", "trixie"), false)
	m.change("pool/linux-image-6.12.5-amd64_6.12.5-1_amd64.deb", "")
	mustFail(t, m.storeWith(mirror), spec("amd64", "trixie"), false, "Hash Sum mismatch")
}

func TestMirrorUnreachable(t *testing.T) {
	m := newMirror(t)
	m.server.Close()
	mustFail(t, m.store(), spec("amd64", "trixie", "forky"), false, "trixie: list for amd64: Could not connect to", "forky: list for amd64", "see whether there is a network")
}

// A mirror that takes the call and never answers costs its time-out.
func TestMirrorSilent(t *testing.T) {
	m := newMirror(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mirror := m.mirror()
	mirror.URI = "http://" + l.Addr().String()
	mirror.Tries, mirror.Timeout = 2, time.Second
	heard := mustFail(t, m.storeWith(mirror), spec("amd64", "trixie"), false, "trixie: list for amd64: ")
	heard.want(t, "(2 of 2)")
}

// half answers with the first half of a file, and then does rest.
func (m *testMirror) half(w http.ResponseWriter, r *http.Request, rest func()) {
	b, err := os.ReadFile(filepath.Join(m.dir, r.URL.Path))
	if err != nil {
		m.t.Error(err)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.Write(b[:len(b)/2])
	w.(http.Flusher).Flush()
	rest()
	panic(http.ErrAbortHandler)
}

// A download that breaks off leaves nothing, and the next is whole.
func TestDownloadBreaksOff(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	m.setHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".deb") {
			m.half(w, r, func() {})
		}
		return false
	})
	s := m.store()
	heard := mustFail(t, s, spec("amd64", "trixie"), false, "trixie: linux-image-6.12.5-amd64: ")
	heard.want(t, "trixie's linux-image-6.12.5-amd64: ", "(3 of 3)")
	m.setHook(nil)
	mustGet(t, s, spec("amd64", "trixie"), false)
	s.Close()
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The end of ctx ends apt, and all that it has started.
func TestCancelled(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	for _, in := range []string{"Packages", ".deb"} {
		ctx, cancel := context.WithCancel(t.Context())
		s := m.store()
		s.Mirror.Timeout = time.Minute
		gone := make(chan struct{})
		m.setHook(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, in) {
				m.half(w, r, func() {
					cancel()
					<-r.Context().Done() // apt's end of the connection closes
					close(gone)
				})
			}
			return false
		})
		start := time.Now()
		_, err := s.Get(ctx, spec("amd64", "trixie", "forky"), false, func(string, string) {})
		if err != context.Canceled || time.Since(start) > time.Minute {
			t.Errorf("in %s: %v after %v", in, err, time.Since(start))
		}
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Errorf("in %s: the connection stays", in)
		}
		if left := processesWith(s.Dir); len(left) > 0 {
			t.Errorf("still running: %q", left)
		}
		if left, err := filepath.Glob(filepath.Join(s.Dir, "work", "*", "entry*")); len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
		// It was this caller's end, not the list's.
		m.setHook(nil)
		mustGet(t, s, spec("amd64", "trixie"), false)
		s.Close()
		if left := leftovers(t, s); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// Callers in one process share lists and kernels.
func TestTogether(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.kernel("trixie", "arm64", "6.12.5", nil)
	m.add("trixie", pkg{"linux-image-other", "1", "amd64", "linux-image-6.12.5-amd64", nil}, "amd64")
	m.publish()
	s := m.store()
	other := spec("amd64", "trixie")
	other.Package = "linux-image-other"
	var group sync.WaitGroup
	for _, p := range []Packaged{spec("amd64", "trixie"), spec("arm64", "trixie"), spec("amd64", "trixie=6.12"), spec("amd64", "trixie"), other} {
		group.Go(func() {
			if k, err := s.Get(t.Context(), p, false, func(string, string) {}); err != nil || !strings.Contains(k.Path, p.Arch) {
				t.Errorf("%+v, %v", k, err)
			}
		})
	}
	group.Wait()
	for text, want := range map[string]int{
		"InRelease": 2, "binary-amd64": 1, "binary-arm64": 1, // for each architecture its list
		"linux-image-6.12.5-amd64_": 2, "linux-image-6.12.5-arm64_": 1, // two entries, and one
	} {
		if n := m.count(text); n != want {
			t.Errorf("%s was fetched %d times, not %d", text, n, want)
		}
	}
}

// Of two processes one fetches, and the other waits for it; who wants another
// kernel waits for nobody.
func TestTwoProcesses(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.kernel("trixie", "arm64", "6.12.5", nil)
	m.publish()
	waits := make(chan struct{})
	m.setHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "6.12.5-amd64_") {
			select {
			case <-waits:
			case <-r.Context().Done():
			}
		}
		return false
	})
	o := order{Dir: m.store().Dir, Mirror: m.mirror(), Spec: spec("amd64", "trixie")}
	o.Mirror.Timeout = time.Minute
	_, first := o.start(t)
	until(t, first, "fetching linux-image-6.12.5-amd64 of trixie")
	_, second := o.start(t)
	until(t, second, "waiting for another run to have its kernel of trixie")
	other := o
	other.Spec = spec("arm64", "trixie")
	_, third := other.start(t)
	until(t, third, "kernel: ")
	close(waits)
	if a, b := until(t, first, "kernel: "), until(t, second, "kernel: "); a != b {
		t.Errorf("%s, but %s", a, b)
	}
	if n := m.count("6.12.5-amd64_"); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// What a killed process left is removed by the next, which goes on at once.
func TestKilled(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	half := make(chan struct{})
	m.setHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".deb") {
			m.half(w, r, func() {
				close(half)
				<-r.Context().Done()
			})
		}
		return false
	})
	s := m.store()
	o := order{Dir: s.Dir, Mirror: m.mirror(), Spec: spec("amd64", "trixie")}
	o.Mirror.Timeout = time.Minute
	cmd, lines := o.start(t)
	<-half
	cmd.Process.Kill()
	for range lines {
	}
	if left := leftovers(t, s); len(left) != 1 {
		t.Fatalf("left behind: %v", left)
	}
	m.setHook(nil)
	_, heard := mustGet(t, s, o.Spec, false)
	if heard.has("waiting") {
		t.Errorf("said %q", heard.lines)
	}
	s.Close()
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// noAPT makes any call of apt fail.
func noAPT(t *testing.T) { t.Setenv("PATH", t.TempDir()) }

// tree lists a directory, with times.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err == nil {
			all = append(all, fmt.Sprint(name, info.ModTime(), info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A cache that is whole is good for one who may not write there, and without apt.
func TestReadOnly(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	s := m.store()
	p := spec("amd64", "none", "trixie")
	k, _ := mustGet(t, s, p, false)
	s.Close()
	asked := m.count("")
	before := tree(t, s.Dir)
	noAPT(t)
	for dir := s.Dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := order{Dir: s.Dir, Mirror: m.mirror(), Spec: p}
	if os.Getuid() == 0 {
		o.UID = 65534
	} else if err := os.Chmod(s.Dir, 0o555); err != nil {
		t.Fatal(err)
	}
	_, lines := o.start(t)
	if line := <-lines; line != "kernel: "+k.Path {
		t.Error(line)
	}
	// One who can't ask for a newer one keeps it.
	o.Fresh = true
	_, lines = o.start(t)
	until(t, lines, "keeping 6.12.5-1 of trixie: missing on this machine: apt-get")
	until(t, lines, "kernel: "+k.Path)
	if after := tree(t, s.Dir); !slices.Equal(before, after) || m.count("") != asked {
		t.Errorf("before %q\nafter %q\n%d requests more", before, after, m.count("")-asked)
	}
}

// A cached file that has changed is fetched anew; without apt that is an error
// that tells what is missing.
func TestChangedKernelIsFetched(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", map[string]string{"kernel/a/virtio.ko": "virtio"})
	m.publish()
	s := m.store()
	p := spec("amd64", "trixie")
	p.Modules = []string{"virtio"}
	k, _ := mustGet(t, s, p, false)
	for i, file := range append([]string{k.Path}, k.Modules...) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, "x")
		f.Close()
		if k, _ := mustGet(t, s, p, false); m.count("6.12.5-amd64_") != i+2 || k.SHA256 == "" || len(k.ModuleSHA256) != 1 {
			t.Errorf("%s: %+v, fetched %d times", file, k, m.count("6.12.5-amd64_"))
		}
	}
	if err := os.Truncate(k.Path, 0); err != nil {
		t.Fatal(err)
	}
	noAPT(t)
	if _, err := s.Get(t.Context(), p, false, func(string, string) {}); !usage.Is(err) ||
		!strings.Contains(err.Error(), "apt-get (Debian package apt)") {
		t.Errorf("error: %v", err)
	}
}

func TestFresh(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	s := m.store()
	p := spec("amd64", "trixie=6.12")
	mustGet(t, s, p, false)
	debs := m.count(".deb")
	fresh := func(version, replaced string, fetched int, texts ...string) {
		t.Helper()
		k, heard := mustGet(t, m.storeIn(s.Dir), p, true)
		if k.Version != version || k.Replaced != replaced || m.count(".deb") != debs+fetched {
			t.Errorf("%+v; fetched %d; said %q", k, m.count(".deb")-debs, heard.lines)
		}
		heard.want(t, texts...)
		debs = m.count(".deb")
	}
	fresh("6.12.5-1", "", 0)
	// One that is cached is of no use to who wants another series.
	other := p
	other.Suites = []Suite{{"trixie", "6.18"}}
	if _, err := s.Get(t.Context(), other, false, func(string, string) {}); err == nil ||
		!strings.Contains(err.Error(), "it has 6.12.5-1, not 6.18") {
		t.Errorf("error: %v", err)
	}
	m.forget("trixie")
	m.kernel("trixie", "amd64", "6.12.10", nil) // greater, but not as a text
	m.publish()
	if k, _ := mustGet(t, m.storeIn(s.Dir), p, false); k.Version != "6.12.5-1" {
		t.Errorf("without being asked: %+v", k)
	}
	fresh("6.12.10-1", "linux-image-6.12.5-amd64_6.12.5-1", 1)
	m.forget("trixie")
	m.kernel("trixie", "amd64", "6.12.9", nil)
	m.publish()
	fresh("6.12.10-1", "", 0)
	m.forget("trixie")
	m.kernel("trixie", "amd64", "6.18.1", nil)
	m.publish()
	fresh("6.12.10-1", "", 0, "keeping 6.12.10-1 of trixie: no linux-image-amd64 for amd64: trixie: it has 6.18.1-1, not 6.12")
	m.forget("trixie")
	m.publish()
	fresh("6.12.10-1", "", 0, "keeping 6.12.10-1 of trixie: no linux-image-amd64")
	p.Suites = append(p.Suites, Suite{"forky", ""})
	m.kernel("forky", "amd64", "7.2.1", nil)
	m.publish()
	m.change("dists/trixie/InRelease", "x")
	fresh("6.12.10-1", "", 0, "keeping 6.12.10-1 of trixie: list for amd64: ")
	m.server.Close()
	fresh("6.12.10-1", "", 0, "keeping 6.12.10-1 of trixie: list for amd64: Could not connect")
}

// Two layouts of packages, and modules packed in three ways.
func TestModules(t *testing.T) {
	m := newMirror(t)
	modules := map[string]string{
		"kernel/drivers/virtio/virtio.ko":          "virtio",
		"kernel/drivers/virtio/virtio_ring.ko.xz":  packed(t, "xz", "ring"),
		"kernel/drivers/char/virtio-console.ko.xz": packed(t, "xz", "console"),
		"kernel/drivers/virtio/other.ko":           "other",
		"modules.order":                            "",
	}
	if host.CheckTools([]host.Tool{decompressors[".zst"]}) == nil {
		modules["kernel/drivers/virtio/virtio_pci.ko.zst"] = packed(t, "zstd", "pci")
	} else {
		modules["kernel/drivers/virtio/virtio_pci.ko"] = "pci"
	}
	m.kernel("trixie", "amd64", "6.12.5", modules)
	m.newKernel("forky", "amd64", "7.2.1", modules)
	m.publish()
	for suite, base := range map[string]string{"trixie": "vmlinuz-6.12.5-amd64", "forky": "vmlinuz"} {
		s := m.store()
		p := spec("amd64", suite)
		check := func(want ...string) {
			t.Helper()
			k, _ := mustGet(t, s, p, false)
			if k.File != base || len(k.Modules) != len(want)/2 || len(k.ModuleFiles) != len(k.Modules) ||
				len(k.ModuleSHA256) != len(k.Modules) {
				t.Fatalf("%+v", k)
			}
			for i, file := range k.Modules {
				text, err := os.ReadFile(file)
				if err != nil || !filepath.IsAbs(file) || filepath.Base(file) != want[2*i] || k.ModuleFiles[i] != want[2*i] ||
					string(text) != want[2*i+1] {
					t.Errorf("%s holds %q, %v; want %s", file, text, err, want[2*i])
				}
			}
		}
		before := m.count("linux-modules-")
		check()
		if n := m.count("linux-modules-"); n != before {
			t.Error("modules that nobody wants were fetched")
		}
		p.Modules = []string{"virtio", "virtio_ring", "built_in", "virtio_pci_legacy_dev", "virtio_pci", "virtio_console"}
		check("virtio.ko", "virtio", "virtio_ring.ko", "ring", "virtio_pci.ko", "pci", "virtio_console.ko", "console")
		fetched := m.count(".deb")
		p.Modules = []string{"other"}
		check("other.ko", "other")
		if m.count(".deb") == fetched {
			t.Error("a module that nobody asked for before was there")
		}
		// All that was ever asked for stays, or the two would take turns.
		fetched = m.count(".deb")
		p.Modules = []string{"virtio_ring", "other", "built_in", "virtio"}
		check("virtio_ring.ko", "ring", "other.ko", "other", "virtio.ko", "virtio")
		p.Modules = nil
		check()
		if m.count(".deb") != fetched {
			t.Error("what is cached was fetched")
		}
	}
}

// packed packs text by a program.
func packed(t *testing.T, program, text string) string {
	t.Helper()
	cmd := exec.Command(program, "--compress", "--stdout")
	cmd.Stdin = strings.NewReader(text)
	out, err := host.Output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
