package supply

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/host"
)

func TestMain(m *testing.M) {
	if order := os.Getenv("SUPPLY_TEST_CHILD"); order != "" {
		child(order)
	}
	status := m.Run()
	if home != "" {
		// The agent that has made the keys would stay.
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	}
	os.Exit(status)
}

// needTools skips a test where there is no apt, or nothing to sign with.
func needTools(t *testing.T) {
	t.Helper()
	tools := append(slices.Clone(programs), host.Tool{Program: "gpg", Package: "gpg"}, host.Tool{Program: "xz", Package: "xz-utils"})
	if err := host.CheckTools(tools); err != nil {
		t.Skip(err)
	}
}

// home is gpg's. A socket's name has to be short, so it is no test's directory.
var home string

// keys makes two keys, and a keyring of each.
var keys = sync.OnceValues(func() (keyrings [2]string, err error) {
	if home, err = os.MkdirTemp("", "gpg"); err != nil {
		return keyrings, err
	}
	for i, user := range users {
		if err := gpg("--passphrase", "", "--quick-gen-key", user, "ed25519", "sign", "never"); err != nil {
			return keyrings, err
		}
		keyrings[i] = filepath.Join(home, user+".gpg")
		if err := gpg("--output", keyrings[i], "--export", user); err != nil {
			return keyrings, err
		}
	}
	return keyrings, nil
})

var users = [2]string{"mirror@test.invalid", "other@test.invalid"}

func gpg(args ...string) error {
	_, err := host.Output(exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--yes", "--quiet"}, args...)...))
	return err
}

// A testMirror is a mirror of the test's own, with a server on this machine.
type testMirror struct {
	t       *testing.T
	dir     string
	keyring string
	server  *httptest.Server
	lists   map[listKey]string // the text of each

	mu    sync.Mutex
	asked []string // paths, in order
	// hook answers a request, if it returns true.
	hook func(w http.ResponseWriter, r *http.Request) bool
}

func newMirror(t *testing.T) *testMirror {
	t.Helper()
	needTools(t)
	keyrings, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	m := &testMirror{t: t, dir: t.TempDir(), keyring: keyrings[0], lists: map[listKey]string{}}
	files := http.FileServer(http.Dir(m.dir))
	m.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked = append(m.asked, r.URL.Path)
		hook := m.hook
		m.mu.Unlock()
		if hook == nil || !hook(w, r) {
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(m.server.Close)
	t.Setenv("no_proxy", "127.0.0.1")
	return m
}

// count is how often files were asked for whose names hold text.
func (m *testMirror) count(text string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.asked {
		if strings.Contains(p, text) {
			n++
		}
	}
	return n
}

func (m *testMirror) setHook(hook func(w http.ResponseWriter, r *http.Request) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

func (m *testMirror) mirror() Mirror {
	return Mirror{URI: m.server.URL, Keyring: m.keyring, Tries: 3, Pause: time.Millisecond, Timeout: 30 * time.Second}
}

// store is a new one that knows no other mirror. Its name has a space.
func (m *testMirror) store() *Store {
	return m.storeIn(filepath.Join(m.t.TempDir(), "the cache"))
}

func (m *testMirror) storeIn(dir string) *Store {
	s := Open(dir)
	s.Mirror = m.mirror()
	m.t.Cleanup(func() { s.Close() })
	return s
}

// A pkg is a package to be.
type pkg struct {
	name, version, arch, depends string
	files                        map[string]string
}

func (m *testMirror) write(name, text string) {
	m.t.Helper()
	file := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// add builds a package, and puts it into the lists of a suite for architectures.
func (m *testMirror) add(suite string, p pkg, archs ...string) {
	m.t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: nobody <nobody@test.invalid>\nDescription: none\n", p.name, p.version, p.arch)
	if p.depends != "" {
		control += "Depends: " + p.depends + "\n"
	}
	root := m.t.TempDir()
	for name, text := range p.files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "DEBIAN", "control"), []byte(control), 0o644); err != nil {
		m.t.Fatal(err)
	}
	name := fmt.Sprintf("pool/%s_%s_%s.deb", p.name, p.version, p.arch)
	m.write(name, "")
	if _, err := host.Output(exec.Command("dpkg-deb", "-Znone", "--root-owner-group", "--build", root, filepath.Join(m.dir, name))); err != nil {
		m.t.Fatal(err)
	}
	size, sum := m.sum(name)
	stanza := control + fmt.Sprintf("Filename: %s\nSize: %d\nSHA256: %s\n\n", name, size, sum)
	for _, arch := range archs {
		m.lists[listKey{suite, arch}] += stanza
	}
}

// spoil changes a package, and what the lists say of it, before they are signed.
func (m *testMirror) spoil(p pkg, change func(deb string) string) {
	m.t.Helper()
	name := fmt.Sprintf("pool/%s_%s_%s.deb", p.name, p.version, p.arch)
	says := func() string {
		size, sum := m.sum(name)
		return fmt.Sprintf("Size: %d\nSHA256: %s\n", size, sum)
	}
	old := says()
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(name, change(string(b)))
	for key, text := range m.lists {
		m.lists[key] = strings.ReplaceAll(text, old, says())
	}
}

func (m *testMirror) sum(name string) (size int, sum string) {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.t.Fatal(err)
	}
	h := sha256.Sum256(b)
	return len(b), hex.EncodeToString(h[:])
}

// image is what a kernel's file begins with.
const image = "KERNEL"

var imageMagic = []Magic{{0, image}}

// padding makes an image that takes more than one packet.
var padding = strings.Repeat("x", 1<<20)

// kernel adds a kernel in the layout of Debian up to 13, with files besides.
func (m *testMirror) kernel(suite, arch, version string, files map[string]string) {
	m.t.Helper()
	abi := version + "-" + arch
	all := map[string]string{
		"boot/vmlinuz-" + abi:                           image + abi + padding,
		"boot/config-" + abi:                            "",
		"lib/modules/" + abi + "/modules.builtin":       "kernel/drivers/virtio/built_in.ko\n",
		"usr/share/doc/linux-image-" + abi + "/vmlinuz": "no image",
	}
	for name, text := range files {
		all["lib/modules/"+abi+"/"+name] = text
	}
	m.add(suite, pkg{"linux-image-" + abi, version + "-1", arch, "kmod", all}, arch)
	m.add(suite, pkg{"linux-image-" + arch, version + "-1", arch, "linux-image-" + abi + " (= " + version + "-1)", nil}, arch)
}

// newKernel adds a kernel in the layout of Debian 14.
func (m *testMirror) newKernel(suite, arch, version string, modules map[string]string) {
	m.t.Helper()
	abi := version + "-" + arch
	dir := "usr/lib/modules/" + abi + "/"
	m.add(suite, pkg{"linux-binary-" + abi, version + "-1", arch, "", map[string]string{dir + "vmlinuz": image + abi}}, arch)
	all := map[string]string{}
	for name, text := range modules {
		all[dir+name] = text
	}
	m.add(suite, pkg{"linux-modules-" + abi, version + "-1", arch, "kmod", all}, arch)
	m.add(suite, pkg{"linux-image-" + abi, version + "-1", arch, "dracut | initramfs-tools (>= 0.120), linux-base-" + abi +
		", linux-binary-" + abi + " (= 1), linux-modules-" + abi + " (= 1)", nil}, arch)
	m.add(suite, pkg{"linux-image-" + arch, version + "-1", arch, "linux-base-" + arch + ", linux-image-" + abi, nil}, arch)
}

// forget empties the lists of a suite.
func (m *testMirror) forget(suite string) {
	for key := range m.lists {
		if key.suite == suite {
			m.lists[key] = ""
		}
	}
}

func listName(suite, arch string) string {
	return "dists/" + suite + "/main/binary-" + arch + "/Packages"
}

// publish writes and signs all lists.
func (m *testMirror) publish() {
	m.t.Helper()
	m.publishAs(users[0])
}

func (m *testMirror) publishAs(user string) {
	m.t.Helper()
	suites := map[string][]string{}
	for key, text := range m.lists {
		m.write(listName(key.suite, key.arch), text)
		suites[key.suite] = append(suites[key.suite], key.arch)
	}
	for suite, archs := range suites {
		release := fmt.Sprintf("Origin: Debian\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: %s\nComponents: main\nSHA256:\n",
			suite, suite, time.Now().UTC().Add(-time.Hour).Format(time.RFC1123), strings.Join(archs, " "))
		for _, arch := range archs {
			size, sum := m.sum(listName(suite, arch))
			release += fmt.Sprintf(" %s %d main/binary-%s/Packages\n", sum, size, arch)
		}
		m.write("dists/"+suite+"/Release", release)
		file := filepath.Join(m.dir, "dists", suite)
		if err := gpg("--local-user", user, "--output", filepath.Join(file, "InRelease"), "--clearsign", filepath.Join(file, "Release")); err != nil {
			m.t.Fatal(err)
		}
	}
}

// change appends to a file of the mirror's, or flips its last byte if text is "".
func (m *testMirror) change(name, text string) {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.t.Fatal(err)
	}
	if b = append(b, text...); text == "" {
		b[len(b)-1] ^= 1
	}
	m.write(name, string(b))
}

// spec asks for kernels as the mirror has them.
func spec(arch string, suites ...string) Packaged {
	p := Packaged{Arch: arch, Package: "linux-image-" + debianArch(arch), Magic: imageMagic}
	for _, s := range suites {
		name, series, _ := strings.Cut(s, "=")
		p.Suites = append(p.Suites, Suite{name, series})
	}
	return p
}

// said keeps what is reported.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) report(phase, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, strings.TrimSuffix(phase+", "+detail, ", "))
}

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.lines, func(line string) bool { return strings.Contains(line, text) })
}

// want fails the test for each text that was not said.
func (s *said) want(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !s.has(text) {
			t.Errorf("nobody said %q, but:\n%s", text, strings.Join(s.lines, "\n"))
		}
	}
	for _, line := range s.lines {
		if strings.Contains(line, "\n") {
			t.Errorf("more than a line: %q", line)
		}
	}
}

// An order is what a child of the test does.
type order struct {
	Dir    string
	Mirror Mirror
	Spec   Packaged
	Fresh  bool
	UID    int
}

// child gets a kernel in a process of its own, and tells line by line.
func child(text string) {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Println("error: " + err.Error())
		os.Exit(1)
	}
	if err := become(o.UID); err != nil {
		fmt.Println("error: " + err.Error())
		os.Exit(1)
	}
	s := Open(o.Dir)
	s.Mirror = o.Mirror
	k, err := s.Get(ctxOfChild(), o.Spec, o.Fresh, func(phase, detail string) { fmt.Println("said: " + phase + " " + detail) })
	s.Close()
	if err != nil {
		fmt.Println("error: " + err.Error())
		os.Exit(1)
	}
	fmt.Println("kernel: " + k.Path)
	os.Exit(0)
}

// start starts a child, whose lines come by a channel that ends with it.
func (o order) start(t *testing.T) (cmd *exec.Cmd, lines <-chan string) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SUPPLY_TEST_CHILD="+string(text))
	c := make(chan string, 1000)
	out := &lineWriter{c: c}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(c)
	}()
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, c
}

type lineWriter struct {
	c    chan<- string
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		w.c <- string(line)
		w.rest = rest
	}
}

// until reads a child's lines until one has text, and returns that one.
func until(t *testing.T, lines <-chan string, text string) string {
	t.Helper()
	var all []string
	deadline := time.After(time.Minute)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("no line of the child's has %q:\n%s", text, strings.Join(all, "\n"))
			}
			all = append(all, line)
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			t.Fatalf("no line of the child's has %q in a minute:\n%s", text, strings.Join(all, "\n"))
		}
	}
}

// leftovers are what is in a store besides whole entries and locks.
func leftovers(t *testing.T, s *Store) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s.Dir, "work", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// processesWith are those whose command line holds text.
func processesWith(text string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(text)) &&
			path.Dir(name) != fmt.Sprintf("/proc/%d", os.Getpid()) {
			found = append(found, string(bytes.ReplaceAll(b, []byte{0}, []byte(" "))))
		}
	}
	return found
}
