package supply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/usage"
)

// A package that apt finds right and nobody can unpack is passed over, as is one that
// can't be had: a release may pack its own in a way that this machine doesn't know.
func TestCannotUnpack(t *testing.T) {
	const abi = "6.12.5-amd64"
	good := pkg{name: "linux-image-" + abi, version: "6.12.5-1", arch: "amd64"}
	for _, c := range []struct {
		name   string
		files  map[string]string
		change func(deb string) string
		want   string
	}{
		{"cut off", nil, func(deb string) string { return deb[:len(deb)/2] }, "can't be unpacked"},
		{"no package", nil, func(string) string { return "rubbish" }, "can't be unpacked: dpkg-deb: error: "},
		{"no archive", nil, func(deb string) string { return strings.ReplaceAll(deb, "ustar", "xstar") }, "can't be unpacked: "},
		{"module", map[string]string{"kernel/drivers/virtio.ko.xz": "rubbish"}, nil, "virtio.ko: xz: exit status 1: xz: (stdin): File format not recognized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMirror(t)
			m.kernel("trixie", "amd64", "6.12.5", c.files)
			m.kernel("forky", "amd64", "7.2.1", nil)
			if c.change != nil {
				m.spoil(good, c.change)
			}
			m.publish()
			s := m.store()
			p := spec("amd64", "trixie", "forky")
			p.Modules = []string{"virtio"}
			k, heard := mustGet(t, s, p, false)
			if k.Suite != "forky" || len(k.Passed) != 1 || !strings.HasPrefix(k.Passed[0], "trixie: ") || !strings.Contains(k.Passed[0], c.want) {
				t.Errorf("%+v; want %q", k, c.want)
			}
			heard.want(t, "trixie: ", "; asking forky")
			p.Suites = p.Suites[:1]
			mustFailWith(t, s, p, "try again later")
		})
	}
}

// mustFailWith wants an error that the user can mend, where others are in the cache.
func mustFailWith(t *testing.T, s *Store, p Spec, text string) {
	t.Helper()
	_, err := s.Get(t.Context(), p, false, func(string, string) {})
	if !usage.Is(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("error: %v; want %q in it", err, text)
	}
}

// The same of a kernel's source.
func TestCannotUnpackSource(t *testing.T) {
	m := newMirror(t)
	fakeTools(t, "12")
	add := func(suite, version string, files map[string]string) {
		m.add(suite, pkg{"linux-source-" + version, version + "-1", "all", "", files}, runtimeArch)
		m.add(suite, pkg{"linux-source", version + "-1", "all", "linux-source-" + version, nil}, runtimeArch)
	}
	add("trixie", "6.12", map[string]string{"usr/src/linux-source-6.12.tar.xz": "rubbish"})
	add("sid", "6.13", map[string]string{"usr/src/linux-6.13": ""})
	m.source("forky", "7.2", goodImage)
	m.publish()
	b := testBuilt
	b.Suites = []Suite{{"trixie", ""}, {"sid", ""}, {"forky", ""}}
	k, err := m.store().Get(t.Context(), b, false, func(string, string) {})
	if err != nil || k.Suite != "forky" || len(k.Passed) != 2 {
		t.Fatalf("%+v, %v", k, err)
	}
	for i, want := range []string{"linux-source-6.12.tar.xz: tar: exit status 2: ", "has no /usr/src/linux-source-*"} {
		if !strings.Contains(k.Passed[i], want) {
			t.Errorf("passed over: %q; want %q", k.Passed[i], want)
		}
	}
}

// What this machine has no room for is no fault of the package's: the next suite's
// would find none either.
func TestNoRoomToUnpack(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo 'tar: x: Cannot write: No space left on device' >&2; exit 2")
	if err := unpack(cmd, "file"); err == nil || errors.As(err, new(*unserved)) || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("error: %v", err)
	}
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	deb := filepath.Join(m.dir, "pool", "linux-image-6.12.5-amd64_6.12.5-1_amd64.deb")
	own := fmt.Errorf("writing: %w", os.ErrClosed)
	err := inPackage(t.Context(), deb, func(string, io.Reader) error { return own })
	if !errors.Is(err, own) || errors.As(err, new(*unserved)) {
		t.Errorf("error: %v, want %v", err, own)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = inPackage(ctx, deb, func(string, io.Reader) error { cancel(); return own })
	if err != context.Canceled {
		t.Errorf("error: %v", err)
	}
}
