package qemu

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// suite is the Debian release whose kernels are used. Its updates and security
// suites are left out: they lack riscv64.
const suite = "trixie"

// Keyring holds the keys of Debian's archive, and Debootstrap, on distributions
// other than Debian, the name of its mirror.
const (
	Keyring     = "/usr/share/keyrings/debian-archive-keyring.gpg"
	Debootstrap = "/usr/sbin/debootstrap"
)

// An apt is an apt that has directories of its own, so that the host's
// package lists, caches and sources stay as they are.
type apt struct {
	dir string
}

// newAPT lays out dir for packages of a suite for the given architectures.
func newAPT(ctx context.Context, dir, suite string, archs []string) (*apt, error) {
	if _, err := os.Stat(Keyring); err != nil {
		return nil, usagef("%s is missing, with which apt verifies packages: install debian-archive-keyring", Keyring)
	}
	mirror, err := debianMirror(ctx)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "sources.d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	a := &apt{dir}
	sources := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", strings.Join(archs, ","), Keyring, mirror, suite)
	if err := os.WriteFile(a.path("sources.list"), []byte(sources), 0o644); err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.path("apt.conf"), []byte(a.config(archs)), 0o644)
}

func (a *apt) path(name string) string { return filepath.Join(a.dir, name) }

// config is read after the host's own configuration, so that its proxies hold
// and its hooks, which tidy the host's directories, are cleared.
func (a *apt) config(archs []string) string {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s %q;\n", key, value) }
	set("Dir::Etc::SourceList", a.path("sources.list"))
	set("Dir::Etc::SourceParts", a.path("sources.d"))
	set("Dir::State::Lists", a.path("lists"))
	set("Dir::State::Status", "/dev/null")
	set("Dir::Cache", a.path("cache"))
	// A host may have turned these off, and then each call reads all lists.
	set("Dir::Cache::pkgcache", "pkgcache.bin")
	set("Dir::Cache::srcpkgcache", "srcpkgcache.bin")
	b.WriteString("#clear APT::Architectures;\n")
	for _, arch := range archs {
		set("APT::Architectures::", arch)
	}
	for _, key := range []string{
		"APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success",
		"Acquire::IndexTargets::deb::DEP-11", "Acquire::IndexTargets::deb::Translations",
	} {
		fmt.Fprintf(&b, "#clear %s;\n", key)
	}
	// As root apt downloads as a user who may not enter our directory.
	set("APT::Sandbox::User", "root")
	// What can't be had must be an error, not a warning with exit status 0.
	set("APT::Update::Error-Mode", "any")
	return b.String()
}

// update fetches the package lists.
func (a *apt) update(ctx context.Context) error {
	if _, err := a.run(ctx, "", "apt-get", "update", "-q"); err != nil {
		return usagef("no package lists from the Debian mirror (is there a network?): %w", err)
	}
	return nil
}

var dependsLine = regexp.MustCompile(`(?m)^Depends: (linux-(?:image|source)-[^ ,]+)`)

var versionLine = regexp.MustCompile(`(?m)^Version: (\S+)`)

// kernelPackage returns the package that the metapackage meta stands for.
func (a *apt) kernelPackage(ctx context.Context, meta, arch string) (string, error) {
	out, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", qualified(meta, arch))
	if err != nil {
		return "", err
	}
	m := dependsLine.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("package %s of %s depends on no kernel's package", meta, suite)
	}
	return string(m[1]), nil
}

// anyArch is the architecture of packages that are the same for all.
const anyArch = "all"

func qualified(pkg, arch string) string {
	if arch == anyArch {
		return pkg // apt-cache finds no pkg:all
	}
	return pkg + ":" + arch
}

// version returns the version of a package that download would fetch.
func (a *apt) version(ctx context.Context, pkg, arch string) (string, error) {
	out, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", qualified(pkg, arch))
	if err != nil {
		return "", err
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("package %s of %s has no version", pkg, suite)
	}
	return string(m[1]), nil
}

// download fetches a package into an empty directory and returns its path. apt
// verifies it against the signed lists.
func (a *apt) download(ctx context.Context, into, pkg, arch string) (string, error) {
	if _, err := a.run(ctx, into, "apt-get", "download", "-q", qualified(pkg, arch)); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(into, "*.deb"))
	if err != nil {
		return "", err
	}
	if len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s:%s left %d packages in %s, not one", pkg, arch, len(debs), into)
	}
	return debs[0], nil
}

func (a *apt) run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, tool, append([]string{"-c", a.path("apt.conf")}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return runTool(cmd)
}

// runTool runs a command and gives its stdout; its error holds the last lines
// of its stderr.
func runTool(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return out, nil
}

// debianMirror finds the mirror of Debian that this machine uses. On other
// distributions it is the one that debootstrap has.
func debianMirror(ctx context.Context) (string, error) {
	out, err := runTool(exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(COMPONENT) $(CODENAME) $(REPO_URI)", "Created-By: Packages", "Origin: Debian"))
	if err != nil {
		return "", usagef("apt did not answer: %w", err)
	}
	var mirrors []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		// Neither updates nor security ("bookworm-security"): another archive.
		if len(f) == 3 && f[0] == "main" && !strings.Contains(f[1], "-") {
			mirrors = append(mirrors, f[2])
		}
	}
	if len(mirrors) > 0 {
		return slices.Min(mirrors), nil
	}
	if mirror := debootstrapMirror(Debootstrap); mirror != "" {
		return mirror, nil
	}
	return "", usagef("no mirror of Debian found: run apt-get update on Debian, or install debootstrap elsewhere")
}

func debootstrapMirror(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "DEF_MIRROR="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}
