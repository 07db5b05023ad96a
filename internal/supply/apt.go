package supply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/vspawn/vspawn/internal/usage"
)

// An apt is an apt that has directories of its own, for one suite and one
// architecture, so that the host's package lists, caches and sources stay as
// they are, and a list that can't be had spoils no other.
type apt struct {
	dir         string
	suite, arch string
	mirror      Mirror
}

// newAPT lays out dir for packages of a suite for an architecture.
func newAPT(dir string, m Mirror, suite, arch string) (*apt, error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "sources.d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	a := &apt{dir, suite, arch, m}
	// No target but Packages: others, which a host may ask for, are of no use.
	sources := fmt.Sprintf("deb [arch=%s signed-by=%s target=Packages] %s %s main\n", arch, m.Keyring, m.URI, suite)
	if err := os.WriteFile(a.path("sources.list"), []byte(sources), 0o644); err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.path("apt.conf"), []byte(a.config()), 0o644)
}

func (a *apt) path(name string) string { return filepath.Join(a.dir, name) }

// config is read after the host's own configuration, so that its proxies hold
// and its hooks, which tidy the host's directories, are cleared.
func (a *apt) config() string {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "%s \"%s\";\n", key, value) }
	set("Dir::Etc::SourceList", a.path("sources.list"))
	set("Dir::Etc::SourceParts", a.path("sources.d"))
	set("Dir::State::Lists", a.path("lists"))
	set("Dir::State::Status", "/dev/null")
	set("Dir::Cache", a.path("cache"))
	// A host may have turned these off, and then each call reads all lists.
	set("Dir::Cache::pkgcache", "pkgcache.bin")
	set("Dir::Cache::srcpkgcache", "srcpkgcache.bin")
	b.WriteString("#clear APT::Architectures;\n")
	set("APT::Architectures::", a.arch)
	for _, key := range []string{"APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"} {
		fmt.Fprintf(&b, "#clear %s;\n", key)
	}
	// As root apt downloads as a user who may not enter our directory.
	set("APT::Sandbox::User", "root")
	// What can't be had must be an error, not a warning with exit status 0.
	set("APT::Update::Error-Mode", "any")
	// A host may have allowed what nobody signed.
	for _, key := range []string{"Acquire::AllowInsecureRepositories", "Acquire::AllowWeakRepositories", "APT::Get::AllowUnauthenticated"} {
		set(key, "false")
	}
	// Trying again is ours, which tells of it, and goes to the next suite.
	set("Acquire::Retries", "0")
	seconds := fmt.Sprint(max(1, int(a.mirror.Timeout/time.Second)))
	for _, method := range []string{"http", "https", "ftp"} {
		set("Acquire::"+method+"::Timeout", seconds)
	}
	return b.String()
}

// An unserved is why a suite does not serve.
type unserved struct {
	reason string
	final  bool // trying again would change nothing
}

func (u *unserved) Error() string { return u.reason }

// update fetches the package list.
func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, "", "apt-get", "update", "-qq")
	return err
}

// show returns what the list says of a package. Of those that are the same for
// all architectures arch is "".
func (a *apt) show(ctx context.Context, pkg, arch string) (fields map[string]string, err error) {
	name := pkg
	if arch != "" {
		name += ":" + arch
	}
	out, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	var u *unserved
	if err != nil && !(errors.As(err, &u) && strings.Contains(u.reason, "No packages found")) {
		return nil, err
	}
	fields = map[string]string{}
	for line := range strings.Lines(string(out)) {
		if line == "\n" {
			break // of several versions the first is the newest
		}
		if key, value, ok := strings.Cut(line, ": "); ok && key[0] != ' ' {
			fields[key] = strings.TrimSpace(value)
		}
	}
	if fields["Version"] == "" {
		// It may still be in others' dependencies, and then apt finds it, and no more.
		return nil, &unserved{fmt.Sprintf("it has no %s for %s", pkg, a.arch), true}
	}
	return fields, nil
}

// dependency returns the first package among what depends says whose name
// begins with prefix.
func dependency(depends, prefix string) string {
	for _, d := range strings.FieldsFunc(depends, func(r rune) bool { return r == ',' || r == '|' }) {
		if f := strings.Fields(d); len(f) > 0 && strings.HasPrefix(f[0], prefix) {
			name, _, _ := strings.Cut(f[0], ":")
			return name
		}
	}
	return ""
}

// download fetches a package into an empty directory and returns its path. apt
// verifies it against the signed list.
func (a *apt) download(ctx context.Context, into, pkg, arch string) (string, error) {
	name := pkg
	if arch != "" {
		name += ":" + arch
	}
	if _, err := a.run(ctx, into, "apt-get", "download", "-qq", name); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(into, "*.deb"))
	if err != nil {
		return "", err
	}
	if len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages in %s, not one", name, len(debs), into)
	}
	return debs[0], nil
}

// longest is how long a call of apt may take that has an answer now and then.
const longest = 30 * time.Minute

// run runs one of apt's programs and gives its stdout. What apt complains of
// comes as an unserved.
func (a *apt) run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	cmd := command(limited, syscall.SIGKILL, tool, append([]string{"-c", a.path("apt.conf")}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, &unserved{fmt.Sprintf("no end after %v", longest), false}
	case cmd.ProcessState == nil:
		return nil, usage.Errorf("apt does not run: %w", err)
	}
	reason, final := complaint(stderr.String())
	if reason == "" {
		reason = fmt.Sprintf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return nil, &unserved{reason, final}
}

var (
	gpgError    = regexp.MustCompile(`GPG error: \S+ \S+ \S+: (.*)`)
	fetchError  = regexp.MustCompile(`^E: Failed to fetch (\S+)\s+(.*)`)
	addressNote = regexp.MustCompile(`\s*\[IP: [^]]*\]`)
)

// complaint is the one line of apt's that tells why: later ones only tell that it
// gives up. It is final if the mirror has the thing not, rather than not yet.
func complaint(stderr string) (reason string, final bool) {
	for line := range strings.Lines(stderr) {
		if m := gpgError.FindStringSubmatch(line); m != nil {
			return strings.TrimSpace(m[1]), false
		}
	}
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(addressNote.ReplaceAllString(line, ""))
		if m := fetchError.FindStringSubmatch(line); m != nil {
			missing := strings.HasPrefix(m[2], "404 ") || strings.Contains(m[2], "No such file or directory")
			reason := strings.Join(strings.Fields(m[2]), " ")
			if missing {
				reason += ": " + m[1]
			}
			return reason, missing && strings.HasSuffix(m[1], ".deb")
		}
		if text, ok := strings.CutPrefix(line, "E: "); ok {
			return text, strings.HasSuffix(text, "does not have a Release file.")
		}
	}
	return "", false
}
