package qemu

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Source says how a kernel is made from the distribution's source.
type Source struct {
	Arch    string   // what the kernel calls the architecture
	Cross   string   // how the names of the compiler's programs begin
	Package string   // the Debian package of the compiler
	Config  []string // files in kernel/ with the options that are not "no"; the last one wins
	Flags   string   // further flags to the compiler
	Image   string   // the file that is wanted
}

//go:embed kernel
var configs embed.FS

// recipe stands for all in this file that decides about a kernel's bytes.
const recipe = "1"

// inputs is a hash of what a kernel is made from, but for the source and the
// compiler, which are recorded beside it.
func (s *Source) inputs() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n%q\n", recipe, *s)
	for _, name := range s.Config {
		fmt.Fprintf(h, "%q\n", s.config(name))
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func (s *Source) config(name string) string {
	b, err := configs.ReadFile("kernel/" + name)
	if err != nil {
		panic(err) // the file is part of this program
	}
	return string(b)
}

// options are the lines that the kernel's configuration must have, by option.
func (s *Source) options() map[string]string {
	all := map[string]string{}
	for _, file := range s.Config {
		for line := range strings.Lines(s.config(file)) {
			line = strings.TrimSpace(line)
			if name, ok := strings.CutSuffix(line, " is not set"); ok {
				all[strings.TrimPrefix(name, "# ")] = line
			} else if name, _, ok := strings.Cut(line, "="); ok && name[0] != '#' {
				all[name] = line
			}
		}
	}
	return all
}

// compiler names the cross compiler and its version.
func (s *Source) compiler(ctx context.Context) (string, error) {
	out, err := runTool(exec.CommandContext(ctx, s.Cross+"gcc", "--version"))
	line, _, _ := strings.Cut(string(out), "\n")
	return line, err
}

// Tools are what building the kernel needs.
func (s *Source) Tools() []Tool {
	return []Tool{
		{s.Cross + "gcc", s.Package},
		{"gcc", "gcc"},
		{"/usr/include/stdlib.h", "libc6-dev"},
		{"make", "make"},
		{"flex", "flex"},
		{"bison", "bison"},
		{"bc", "bc"},
		{"xz", "xz-utils"},
	}
}

// A build makes one kernel in a directory that is thrown away.
type build struct {
	*Source
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
	return inPackage(ctx, deb, "/usr/src", "linux-source-", func(_ string, r io.Reader) error {
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
		_, err := runTool(cmd)
		return err
	})
}

// configure switches off all that the options don't ask for, and makes sure
// that each is as they ask: one that the source no longer has, or that lacks
// what it depends on, would be left out in silence.
func (b *build) configure(ctx context.Context) error {
	b.report("configuring the kernel", "")
	options := b.options()
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
		return fmt.Errorf("this source takes no %s: mend qemu/kernel/%s", strings.Join(refused, ", no "), b.Config[len(b.Config)-1])
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
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = b.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"LC_ALL=C",
		"KBUILD_BUILD_TIMESTAMP=Thu Jan 1 00:00:00 UTC 1970",
		"KBUILD_BUILD_USER=rig",
		"KBUILD_BUILD_HOST=vspawn",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// build makes a kernel from its source's package, in a directory of its own,
// and returns the image's name there.
func (s *Source) build(ctx context.Context, deb, dir, log string, report func(phase, detail string)) (file string, err error) {
	l, err := os.Create(log)
	if err != nil {
		return "", err
	}
	defer l.Close()
	b := &build{Source: s, dir: filepath.Join(dir, "source"), log: l, report: report}
	defer func() {
		// Some seconds, also after an interrupt: nothing else would tell.
		report("removing the kernel's source", "")
		err = errors.Join(err, os.RemoveAll(b.dir))
	}()
	for _, step := range []func() error{
		func() error { return b.unpack(ctx, deb) },
		func() error { return b.configure(ctx) },
		func() error { return b.compile(ctx) },
	} {
		if err := step(); err != nil {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return "", err
		}
	}
	file = filepath.Base(s.Image)
	if err := os.Rename(filepath.Join(b.dir, s.Image), filepath.Join(dir, file)); err != nil {
		return "", err
	}
	return file, l.Close()
}
