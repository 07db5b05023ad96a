package nommu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/vspawn/vspawn/internal/usage"
)

// toolexecArg is the first argument of a program that the go command runs as
// -toolexec. After it come the options of linking, then the tool and its
// arguments.
const toolexecArg = "nommu-toolexec"

// format is part of the linker's identity. Change it when the same input would
// give another file: the go command does not link again what is up to date.
const format = "2"

func init() {
	if len(os.Args) > 1 && os.Args[1] == toolexecArg {
		os.Exit(toolexec(os.Args[2:]))
	}
}

// linking are the options of linking, as arguments of -toolexec.
type linking struct {
	stack    uint64
	maxOrder int
	dir      string // where a mistake of the user's is told
}

const linkingArgs = 3

func (l *linking) args() []string {
	return []string{strconv.FormatUint(l.stack, 10), strconv.Itoa(l.maxOrder), l.dir}
}

func parseLinking(args []string) (l linking, err error) {
	var err2 error
	l.stack, err = strconv.ParseUint(args[0], 10, 64)
	l.maxOrder, err2 = strconv.Atoi(args[1])
	l.dir = args[2]
	return l, errors.Join(err, err2)
}

// mistake is the file in linking.dir.
const mistake = "mistake"

// toolexec runs a tool of the go command, and gives its exit status. The linker
// it runs once for each address.
func toolexec(args []string) int {
	if len(args) <= linkingArgs {
		fmt.Fprintf(os.Stderr, "%s: too few arguments\n", toolexecArg)
		return 2
	}
	l, err := parseLinking(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", toolexecArg, err)
		return 2
	}
	tool, args := args[linkingArgs], args[linkingArgs+1:]
	isLinker := strings.TrimSuffix(filepath.Base(tool), ".exe") == "link"
	switch {
	case isLinker && len(args) == 1 && args[0] == "-V=full":
		err = l.version(tool)
	case isLinker:
		err = l.link(tool, args)
	default:
		err = syscall.Exec(tool, append([]string{tool}, args...), os.Environ())
	}
	if err == nil {
		return 0
	}
	if usage.Is(err) {
		// If it can't be told that way, it is told by the exit status.
		os.WriteFile(filepath.Join(l.dir, mistake), []byte(err.Error()), 0o666)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// version prints the linker's, with what else decides about the output.
func (l *linking) version(tool string) error {
	out, err := exec.Command(tool, "-V=full").Output()
	if err != nil {
		return err
	}
	line := strings.TrimSpace(string(out))
	if !strings.Contains(line, "devel") { // else the last field is to be the tool's hash
		line += fmt.Sprintf(" nommu:%s,%d,%d", format, l.stack, l.maxOrder)
	}
	_, err = fmt.Println(line)
	return err
}

// link runs the linker with its arguments, but for several addresses, and makes
// of that the output that is asked for.
func (l *linking) link(tool string, args []string) error {
	at := -1
	for i, a := range args {
		if a == "-o" {
			at = i + 1
		}
	}
	if at < 0 || at >= len(args)-1 {
		return fmt.Errorf("nommu: the linker was given no -o: %q", args)
	}
	out := args[at]
	tmp, err := os.MkdirTemp(filepath.Dir(out), "nommu-")
	if err != nil {
		return fmt.Errorf("nommu: %w", err)
	}
	defer os.RemoveAll(tmp)

	links := make([]*program, len(textAddresses))
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i, addr := range textAddresses {
		wg.Add(1)
		go func() {
			defer wg.Done()
			one := append([]string{}, args[:len(args)-1]...)
			one[at] = filepath.Join(tmp, strconv.Itoa(i))
			one = append(one, "-s", "-w", "-E=_rt0_nommu", "-R="+strconv.Itoa(pageSize), fmt.Sprintf("-T=%#x", addr), args[len(args)-1])
			links[i], errs[i] = runLinker(tool, one, one[at])
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err // that of the others says the same
		}
	}
	if err := l.fits(links[0]); err != nil {
		return err
	}
	file, err := makeImage(links, l.stack)
	if err != nil {
		return fmt.Errorf("nommu: relocating the program: %w", err)
	}
	if err := os.WriteFile(out, file, 0o777); err != nil {
		return fmt.Errorf("nommu: %w", err)
	}
	return nil
}

func runLinker(tool string, args []string, out string) (*program, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(tool, args...)
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s%w", &stderr, err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("nommu: %w", err)
	}
	p, err := readProgram(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, fmt.Errorf("nommu: the linker's output: %w", err)
	}
	return p, nil
}

// fits tells whether the kernel can have a block for the program.
func (l *linking) fits(p *program) error {
	span := p.end() - p.base
	if need := order(span); need > l.maxOrder {
		return inputErrorf("%s spans %d KiB, and the kernel's largest block is %d KiB: build the kernel with KCFLAGS=-DCONFIG_ARCH_FORCE_MAX_ORDER=%d or more, and say so with -maxorder", packageName(), span>>10, pageSize>>10<<l.maxOrder, need)
	}
	return nil
}

// packageName is what the go command says of the package that is linked.
func packageName() string {
	if p := os.Getenv("TOOLEXEC_IMPORTPATH"); p != "" {
		return p
	}
	return "the program"
}
