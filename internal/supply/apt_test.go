package supply

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestComplaint(t *testing.T) {
	for _, c := range []struct {
		stderr, reason string
		final          bool
	}{
		{"E: Failed to fetch http://mirror.example/Packages.xz  File has unexpected size (1 != 2). Mirror sync in progress? [IP: 192.0.2.1 80]\n" +
			"   Hashes of expected file:\nE: Some index files failed to download. They have been ignored, or old ones used instead.\n",
			"File has unexpected size (1 != 2). Mirror sync in progress?", false},
		{"W: GPG error: http://mirror.example trixie InRelease: The following signatures were invalid: BADSIG 1 Mirror\nE: The repository 'x' is not signed.\n",
			"The following signatures were invalid: BADSIG 1 Mirror", false},
		{"E: Failed to fetch http://mirror.example/a.deb  404  Not Found [IP: 192.0.2.1 80]\n", "404 Not Found: http://mirror.example/a.deb", true},
		// A list that is not there yet may be there soon.
		{"E: Failed to fetch http://mirror.example/Packages  404  Not Found\n", "404 Not Found: http://mirror.example/Packages", false},
		{"E: The repository 'http://mirror.example none Release' does not have a Release file.\n", "The repository 'http://mirror.example none Release' does not have a Release file.", true},
		{"W: a warning\nE: Something else\n", "Something else", false},
		{"", "", false},
	} {
		if reason, final := complaint(c.stderr); reason != c.reason || final != c.final {
			t.Errorf("%q: %q, %v; want %q, %v", c.stderr, reason, final, c.reason, c.final)
		}
	}
}

func TestDependency(t *testing.T) {
	for _, c := range []struct{ depends, prefix, want string }{
		{"linux-image-6.12.117+deb13-cloud-amd64 (= 6.12.117-1)", "linux-image-", "linux-image-6.12.117+deb13-cloud-amd64"},
		{"linux-base-cloud-amd64 (= 7.2.12-1), linux-image-7.2.12+deb14-cloud-amd64 (= 7.2.12-1)", "linux-image-", "linux-image-7.2.12+deb14-cloud-amd64"},
		{"dracut | initramfs-tools (>= 0.120), linux-binary-7.2:amd64", "linux-binary-", "linux-binary-7.2"},
		{"kmod", "linux-binary-", ""},
		{"", "linux-image-", ""},
	} {
		if got := dependency(c.depends, c.prefix); got != c.want {
			t.Errorf("%q: %q, want %q", c.depends, got, c.want)
		}
	}
}

func TestServes(t *testing.T) {
	for _, c := range []struct {
		series, version string
		want            bool
	}{
		{"", "7.2.12-1", true},
		{"6.12", "6.12.117-1", true},
		{"6.12", "6.12-1", true},
		{"6.12", "6.12~rc1", true},
		{"6.12", "6.120.1-1", false},
		{"6.1", "6.12.117-1", false},
		{"5.10", "5.1.0", false},
	} {
		if got := (Suite{"trixie", c.series}).serves(c.version); got != c.want {
			t.Errorf("series %q, version %s: %v", c.series, c.version, got)
		}
	}
}

func TestDebianArch(t *testing.T) {
	for goarch, want := range map[string]string{"amd64": "amd64", "riscv64": "riscv64", "386": "i386", "arm": "armhf",
		"ppc64le": "ppc64el", "mipsle": "mipsel", "mips64le": "mips64el"} {
		if got := debianArch(goarch); got != want {
			t.Errorf("%s is %s, want %s", goarch, got, want)
		}
	}
}

func TestDebootstrapMirror(t *testing.T) {
	file := filepath.Join(t.TempDir(), "debootstrap")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nX=1\nDEF_MIRROR=\"http://mirror.example/debian\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := debootstrapMirror(file); got != "http://mirror.example/debian" {
		t.Errorf("mirror %q", got)
	}
	if got := debootstrapMirror(file + "-not"); got != "" {
		t.Errorf("mirror %q of no file", got)
	}
}

// A machine whose apt has sources and no lists, such as a container, has a mirror all
// the same.
func TestMirrorWithoutLists(t *testing.T) {
	needTools(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	source := func(uri, suites string) string {
		return "Types: deb\nURIs: " + uri + "\nSuites: " + suites + "\nComponents: main\n\n"
	}
	const ours = "http://mirror.example/debian"
	others := source("http://a.example/linux/debian", "bookworm") + source(ours+"-security", "bookworm-security") + source("http://b.example/apt", "stable")
	write("lists/partial/none", "")
	t.Setenv("APT_CONFIG", write("apt.conf", fmt.Sprintf(`Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts %[1]q;
Dir::State::Lists %[2]q;
Dir::State::Status "/dev/null";
Dir::Cache %[2]q;
`, filepath.Join(dir, "sources"), filepath.Join(dir, "lists"))))
	debian := write("os-release", "ID=debian\nVERSION_CODENAME=bookworm\n")
	for _, c := range []struct{ sources, want string }{
		{others + source(ours, "bookworm bookworm-updates"), ours},
		{source(ours, "bookworm") + source(ours+"-security", "bookworm-security"), ours},
		{others + source(ours, "stable stable-updates"), ours},
		{source("mirror+file:/etc/apt/debian.list", "bookworm bookworm-updates"), "mirror+file:/etc/apt/debian.list"},
	} {
		write("sources/debian.sources", c.sources)
		if got, err := debianMirror(t.Context(), debian); got != c.want || err != nil {
			t.Errorf("mirror %q, %v; want %q of\n%s", got, err, c.want, c.sources)
		}
	}
	// Those of another distribution are not Debian's.
	ubuntu := write("ubuntu", "ID=ubuntu\nVERSION_CODENAME=noble\n")
	if got, _ := debianMirror(t.Context(), ubuntu); got != debootstrapMirror(debootstrap) {
		t.Errorf("mirror %q on another distribution", got)
	}
}

// What a host's own configuration may have is not left to it.
func TestConfig(t *testing.T) {
	a, err := newAPT(t.TempDir(), Mirror{URI: "http://mirror.example", Keyring: "/k.gpg", Timeout: 1500 * time.Millisecond}, "trixie", "arm64")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := os.ReadFile(a.path("sources.list"))
	if want := "deb [arch=arm64 signed-by=/k.gpg target=Packages] http://mirror.example trixie main\n"; string(sources) != want || err != nil {
		t.Errorf("%q, %v; want %q", sources, err, want)
	}
	for _, line := range []string{
		"Acquire::http::Timeout \"1\";\n", "Acquire::Retries \"0\";\n", "Acquire::AllowInsecureRepositories \"false\";\n",
		"APT::Architectures:: \"arm64\";\n", "APT::Update::Error-Mode \"any\";\n", "#clear APT::Update::Post-Invoke;\n",
	} {
		if !strings.Contains(a.config(), line) {
			t.Errorf("no %q in\n%s", line, a.config())
		}
	}
}
