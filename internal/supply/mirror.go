package supply

import (
	"bufio"
	"cmp"
	"context"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/internal/arch"
	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/usage"
)

// A Mirror is where packages come from. What is zero is as it says here.
type Mirror struct {
	URI     string        // the mirror of Debian that this machine uses
	Keyring string        // that of Debian's archive
	Tries   int           // 3, for what may get better by trying again
	Pause   time.Duration // 5 s, between the tries
	Timeout time.Duration // 20 s, how long the mirror may be silent; in whole seconds
}

// keyring holds the keys of Debian's archive, and debootstrap, on distributions
// other than Debian, the name of its mirror.
const (
	keyring     = "/usr/share/keyrings/debian-archive-keyring.gpg"
	debootstrap = "/usr/sbin/debootstrap"
)

// programs are what fetching packages needs.
var programs = []host.Tool{
	{Program: "apt-get", Package: "apt"},
	{Program: "dpkg-deb", Package: "dpkg"},
}

// fetchTools are programs, and what tells Debian's mirror and its keys.
func fetchTools() []host.Tool {
	tools := append(slices.Clone(programs), host.Tool{Program: keyring, Package: "debian-archive-keyring"})
	if _, err := os.Stat("/etc/dpkg/origins/ubuntu"); err == nil {
		tools = append(tools, host.Tool{Program: debootstrap, Package: "debootstrap"})
	}
	return tools
}

// mirror is the store's, with what is zero filled in.
func (s *Store) mirror(ctx context.Context) (Mirror, error) {
	m := s.Mirror
	m.Keyring = cmp.Or(m.Keyring, keyring)
	m.Tries = cmp.Or(m.Tries, 3)
	m.Pause = cmp.Or(m.Pause, 5*time.Second)
	m.Timeout = cmp.Or(m.Timeout, 20*time.Second)
	if _, err := os.Stat(m.Keyring); err != nil {
		return m, usage.Errorf("%s is missing, with which apt verifies packages: install debian-archive-keyring", m.Keyring)
	}
	if m.URI != "" {
		return m, nil
	}
	// apt takes a second to say, and says the same to all.
	s.uriMu.Lock()
	defer s.uriMu.Unlock()
	var err error
	if s.uri == "" {
		s.uri, err = debianMirror(ctx, s.release())
	}
	m.URI = s.uri
	return m, err
}

// debianMirror finds the mirror of Debian that this machine uses. On other
// distributions it is the one that debootstrap has.
func debianMirror(ctx context.Context, osRelease string) (string, error) {
	out, err := host.Output(exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(COMPONENT) $(CODENAME) $(REPO_URI)", "Created-By: Packages", "Origin: Debian"))
	if err != nil {
		return "", usage.Errorf("apt did not answer: %w", err)
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
	// Images for containers come without lists, and apt tells nothing then of whose
	// they would be.
	if release, err := debianRelease(osRelease); err == nil && release != "" {
		out, err := host.Output(exec.CommandContext(ctx, "apt-get", "update", "--print-uris"))
		if err != nil {
			return "", usage.Errorf("apt did not answer: %w", err)
		}
		if mirror := mirrorOf(string(out)); mirror != "" {
			return mirror, nil
		}
	}
	if mirror := debootstrapMirror(debootstrap); mirror != "" {
		return mirror, nil
	}
	return "", usage.Errorf("no mirror of Debian found: run apt-get update on Debian, or install debootstrap elsewhere")
}

var releaseURI = regexp.MustCompile(`(?m)^'(.+)/dists/([^/']+)/InRelease' `)

// mirrorOf finds Debian's own mirror among the files that apt would fetch. Others have
// archives for its releases too, but no updates of them beside, and few in a place of
// that name.
func mirrorOf(uris string) string {
	updated := map[string]bool{}
	var mirrors []string
	for _, m := range releaseURI.FindAllStringSubmatch(uris, -1) {
		if uri, suite := m[1], m[2]; strings.HasSuffix(suite, "-updates") {
			updated[uri] = true
		} else if !strings.Contains(suite, "-") {
			mirrors = append(mirrors, uri)
		}
	}
	for _, is := range []func(uri string) bool{
		func(uri string) bool { return updated[uri] },
		func(uri string) bool { return path.Base(uri) == "debian" },
	} {
		if found := slices.DeleteFunc(slices.Clone(mirrors), func(uri string) bool { return !is(uri) }); len(found) > 0 {
			return slices.Min(found)
		}
	}
	return ""
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

func debianArch(goarch string) string { return arch.Of(goarch).Debian }
