package supply

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/usage"
)

// A Built is a kernel that is made from Debian's kernel source, for a machine that
// the distribution has none for.
type Built struct {
	Package string  // the one that depends on the newest source's
	Suites  []Suite // in order of preference

	Arch     string // what the kernel calls the architecture
	Cross    string // how the names of the compiler's programs begin
	Compiler string // the Debian package of the compiler

	Files  fs.FS
	Config []string // those of Files with the options that are not "no"; the last one wins
	Flags  string   // further flags to the compiler
	Image  string   // the file that is wanted
	Magic  []Magic  // of the image: any of these
}

// recipe stands for all in this file that decides about a kernel's bytes.
const recipe = "1"

// inputs is a hash of what a kernel is made from, but for the source and the
// compiler, which are recorded beside it.
func (b Built) inputs() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n%q\n", recipe, []string{b.Arch, b.Cross, b.Compiler, b.Flags, b.Image})
	for _, name := range b.Config {
		text, err := fs.ReadFile(b.Files, name)
		fmt.Fprintf(h, "%q %q %v\n", name, text, err)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// options are the lines that the kernel's configuration must have, by option.
func (b Built) options() (map[string]string, error) {
	all := map[string]string{}
	for _, file := range b.Config {
		text, err := fs.ReadFile(b.Files, file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if name, ok := strings.CutSuffix(line, " is not set"); ok {
				all[strings.TrimPrefix(name, "# ")] = line
			} else if name, _, ok := strings.Cut(line, "="); ok && name[0] != '#' {
				all[name] = line
			}
		}
	}
	return all, nil
}

// compiler names the cross compiler and its version.
func (b Built) compiler(ctx context.Context) (string, error) {
	out, err := host.Output(exec.CommandContext(ctx, b.Cross+"gcc", "--version"))
	line, _, _ := strings.Cut(string(out), "\n")
	return line, err
}

// From implements Spec.
func (b Built) From(suites []Suite) Spec {
	b.Suites = suites
	return b
}

// Tools implements Spec.
func (b Built) Tools() []host.Tool { return slices.Concat(fetchTools(), b.builders()) }

func (b Built) builders() []host.Tool {
	return []host.Tool{
		{Program: b.Cross + "gcc", Package: b.Compiler},
		{Program: "gcc", Package: "gcc"},
		{Program: "/usr/include/stdlib.h", Package: "libc6-dev"},
		{Program: "make", Package: "make"},
		{Program: "flex", Package: "flex"},
		{Program: "bison", Package: "bison"},
		{Program: "bc", Package: "bc"},
		{Program: "xz", Package: "xz-utils"},
	}
}

// about asks for the list of this machine's architecture: the source is in all.
func (b Built) about() about {
	return about{
		what:   b.Package + ", from which a kernel is built",
		kind:   "kernel",
		arch:   debianArch(runtime.GOARCH),
		tools:  slices.Concat(programs, b.builders()),
		suites: b.Suites,
	}
}

func (b Built) entry(suite string) string {
	return filepath.Join("kernels", b.Package+"-"+b.Arch+"-"+suite+"-"+b.inputs())
}

func (b Built) find(ctx context.Context, a *apt, _ []string) (found, error) {
	meta, err := a.show(ctx, b.Package, "")
	if err != nil {
		return found{}, err
	}
	pkg := dependency(meta["Depends"], "linux-source-")
	if pkg == "" {
		return found{}, &unserved{b.Package + " depends on no source of a kernel", true}
	}
	source, err := a.show(ctx, pkg, "")
	if err != nil {
		return found{}, err
	}
	compiler, err := b.compiler(ctx)
	return found{pkg, source["Version"], []deb{{pkg, ""}}, compiler}, err
}

func (b Built) check(ctx context.Context, k Kernel) error {
	// Without a compiler there is nothing to replace the kernel by.
	if compiler, err := b.compiler(ctx); err == nil && compiler != k.Compiler {
		return fmt.Errorf("%s: made by %s, not %s", k.Path, k.Compiler, compiler)
	}
	return CheckMagic(b.Magic, k.Path)
}

// A buildError is a mistake in the options, or worse: no other suite is asked.
type buildError struct{ err error }

func (e *buildError) Error() string { return e.err.Error() }
func (e *buildError) Unwrap() error { return e.err }

// A build makes one kernel in a directory that is thrown away.
type build struct {
	Built
	dir    string // of the source
	log    *os.File
	report func(phase, detail string)
}

// unpack unpacks the source out of its package, without most of what no kernel
// of ours is made from. Each Kconfig has to stay, since they name each other.
func (b *build) unpack(ctx context.Context, deb string) error {
	b.report("unpacking the kernel's source", "")
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		return err
	}
	unpacked := false
	err := inPackage(ctx, deb, func(name string, r io.Reader) error {
		if !strings.HasPrefix(name, "/usr/src/linux-source-") {
			return nil
		}
		cmd := b.command(ctx, "tar", "--extract", "--xz", "--strip-components=1", "--wildcards",
			"--exclude=*/arch/[!"+b.Arch[:1]+"]*/*.[chS]",
			"--exclude=*/arch/*.dts*",
			"--exclude=*/Documentation/*/*",
			"--exclude=*/drivers/gpu/*.[ch]",
			"--exclude=*/drivers/media/*.[ch]",
			"--exclude=*/drivers/net/*/*.[ch]",
			"--exclude=*/sound/*.[ch]",
			"--exclude=*/tools/perf/*",
			"--exclude=*/tools/testing/*",
		)
		cmd.Env = append(cmd.Env, "XZ_DEFAULTS=--threads=0")
		cmd.Stdin = r
		unpacked = true
		if err := unpack(cmd, filepath.Base(name)); err != nil {
			return err
		}
		return errFound
	})
	if err == nil && !unpacked {
		err = &unserved{fmt.Sprintf("%s has no /usr/src/linux-source-*", filepath.Base(deb)), true}
	}
	return err
}

// configure switches off all that the options don't ask for, and makes sure
// that each is as they ask: one that the source no longer has, or that lacks
// what it depends on, would be left out in silence.
func (b *build) configure(ctx context.Context) error {
	b.report("configuring the kernel", "")
	options, err := b.options()
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(options)) {
		fmt.Fprintln(&text, options[name])
	}
	file := filepath.Join(b.dir, "rig.config")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		return err
	}
	cmd := b.make(ctx, "allnoconfig")
	cmd.Env = append(cmd.Env, "KCONFIG_ALLCONFIG="+file)
	if err := b.run(ctx, cmd, func(string) {}); err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(b.dir, ".config"))
	if err != nil {
		return err
	}
	if refused := refusedOptions(options, string(got)); len(refused) > 0 {
		return fmt.Errorf("this source takes no %s: mend %s", strings.Join(refused, ", no "), b.Config[len(b.Config)-1])
	}
	return nil
}

// refusedOptions lists the options that config, a kernel's, holds otherwise. What
// is not there at all is not set.
func refusedOptions(options map[string]string, config string) (refused []string) {
	have := map[string]bool{}
	for line := range strings.Lines(config) {
		have[strings.TrimSpace(line)] = true
		if name, _, ok := strings.Cut(line, "="); ok {
			have[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		line := options[name]
		if off := strings.HasPrefix(line, "#"); off && have[name] || !off && !have[line] {
			refused = append(refused, line)
		}
	}
	return refused
}

// compile makes the image, and tells of each file.
func (b *build) compile(ctx context.Context) error {
	const phase = "compiling the kernel"
	b.report(phase, "")
	files := 0
	cmd := b.make(ctx, "-j"+strconv.Itoa(runtime.NumCPU()), filepath.Base(b.Image))
	return b.run(ctx, cmd, func(line string) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(f[1], ".o") {
			files++
			b.report(phase, fmt.Sprintf("file %d: %s", files, f[1]))
		}
	})
}

// run runs make, logs what it says, and hands it to each line by line.
func (b *build) run(ctx context.Context, cmd *exec.Cmd, each func(line string)) error {
	var complaints bytes.Buffer
	cmd.Stderr = io.MultiWriter(b.log, &complaints)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s := bufio.NewScanner(io.TeeReader(out, b.log))
	for s.Scan() {
		each(s.Text())
	}
	io.Copy(io.Discard, out) // a line too long for the scanner is no reason to block
	if err := cmd.Wait(); err != nil {
		// Later lines only tell that make gives up.
		first, _, _ := strings.Cut(complaints.String(), "\n")
		return fmt.Errorf("%s: %w: %s (all of it is in %s)", strings.Join(cmd.Args, " "), err, first, b.log.Name())
	}
	return nil
}

func (b *build) make(ctx context.Context, args ...string) *exec.Cmd {
	return b.command(ctx, "make", append([]string{"ARCH=" + b.Arch, "CROSS_COMPILE=" + b.Cross, "KCFLAGS=" + b.Flags}, args...)...)
}

// command runs in the source, in a process group that dies as one, and with
// nothing in its environment that would make another kernel: neither the
// options that make hands to its children, nor time, place and name.
func (b *build) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := command(ctx, syscall.SIGTERM, name, args...)
	cmd.Dir = b.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"LC_ALL=C",
		"KBUILD_BUILD_TIMESTAMP=Thu Jan 1 00:00:00 UTC 1970",
		"KBUILD_BUILD_USER=rig",
		"KBUILD_BUILD_HOST=vspawn",
	}
	return cmd
}

// build makes a kernel from its source's package.
func (b Built) build(ctx context.Context, j *job) error {
	err := b.compileIn(ctx, j)
	if err != nil && ctx.Err() == nil && !errors.As(err, new(*unserved)) {
		err = &buildError{fmt.Errorf("%s: %w", j.record.Package, err)}
	}
	return err
}

func (b Built) compileIn(ctx context.Context, j *job) (err error) {
	log, err := os.Create(j.log)
	if err != nil {
		return err
	}
	defer log.Close()
	place, err := sourcePlace(j.dir)
	if err != nil {
		return err
	}
	k := &build{Built: b, dir: filepath.Join(place, "source"), log: log, report: j.report}
	defer func() {
		// Some seconds, also after an interrupt: nothing else would tell.
		j.report("removing the kernel's source", "")
		err = errors.Join(err, os.RemoveAll(place))
	}()
	for _, step := range []func() error{
		func() error { return k.unpack(ctx, j.debs[0]) },
		func() error { return k.configure(ctx) },
		func() error { return k.compile(ctx) },
	} {
		if err := step(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
	j.record.File = filepath.Base(b.Image)
	made, err := os.Open(filepath.Join(k.dir, b.Image))
	if err != nil {
		return err
	}
	defer made.Close()
	if err := save(filepath.Join(j.dir, j.record.File), made, 0o644); err != nil {
		return err
	}
	return log.Close()
}

// elsewhere is a link that tells the next run of a directory outside the cache.
const elsewhere = "elsewhere"

// sourcePlace makes a directory for a source, in the one given unless its name has
// what the kernel's makefiles take no path with.
func sourcePlace(dir string) (string, error) {
	const refused = " \t:"
	if !strings.ContainsAny(dir, refused) {
		return os.MkdirTemp(dir, "build")
	}
	place, err := os.MkdirTemp("", "vspawn-build")
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(place, refused) {
		err = usage.Errorf("a kernel can't be built in a directory with a space or a colon in its name, such as %s: set TMPDIR", os.TempDir())
	} else {
		err = os.Symlink(place, filepath.Join(filepath.Dir(dir), elsewhere))
	}
	if err != nil {
		os.Remove(place)
	}
	return place, err
}
