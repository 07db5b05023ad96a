//go:build linux

package main

import (
	"fmt"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// shell starts a shell on the console, in the tests' environment, and returns when it
// has ended.
func shell() error {
	plan, err := readPlan()
	if err != nil {
		return err
	}
	tty, err := openConsole("/sys")
	if err != nil {
		return err
	}
	defer tty.Close()
	// The session, and with it the terminal, is this process' own: the end of a shell
	// that led it would hang up the terminal, and lose what was said last.
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("setsid: %w", err)
	}
	if err := unix.IoctlSetInt(int(tty.Fd()), unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("taking the console: %w", err)
	}
	a := agent{plan: plan}
	env := slices.DeleteFunc(a.env(wire.Binary{}), func(v string) bool { return strings.HasPrefix(v, "PATH=") })
	fmt.Fprint(tty, welcome(plan))
	// u-root's one binary finds by this path what it is to be.
	p, err := os.StartProcess("/bin/sh", []string{"/bin/sh"}, &os.ProcAttr{
		Dir:   "/tests",
		Env:   append(env, "PATH=/bin:/bbin"), // the tests have /bin alone
		Files: []*os.File{tty, tty, tty},
		Sys:   &unix.SysProcAttr{Setpgid: true, Foreground: true, Ctty: int(tty.Fd())},
	})
	if err != nil {
		return fmt.Errorf("starting a shell: %w", err)
	}
	// The shell's group has the terminal to its end and beyond it: without this, drain
	// would stop this process, which can't be stopped, again and again. Only now, as the
	// shell would inherit it.
	signal.Ignore(unix.SIGTTOU)
	_, err = reapUntil(p.Pid)
	drain(tty)
	return err
}

// drain waits until a terminal has sent what was written to it: a machine that is
// powered off loses the rest.
func drain(tty *os.File) {
	unix.IoctlSetInt(int(tty.Fd()), unix.TCSBRK, 1)
}

// openConsole opens the terminal behind /dev/console, which itself can't be anyone's
// controlling terminal.
func openConsole(sys string) (*os.File, error) {
	b, err := os.ReadFile(path.Join(sys, "class/tty/console/active"))
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(b))
	if len(names) == 0 {
		return nil, fmt.Errorf("the kernel has no console")
	}
	tty, err := os.OpenFile("/dev/"+names[len(names)-1], os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the console: %w", err)
	}
	return tty, nil
}

// welcome says what there is, and how it runs.
func welcome(plan wire.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe test binaries are below /tests. This runs one as make qemu-test does, with the\n"+
		"environment and in the folder that it has there; without arguments it lists them:\n\n")
	run := plan.Run
	if run == "" {
		run = "^TestName$"
	}
	for _, binary := range plan.Binaries {
		fmt.Fprintf(&b, "    guest '%s' -test.run '%s'\n", binary.Name, run)
	}
	fmt.Fprintf(&b, "\nexit powers the machine off.\n\n")
	return b.String()
}

// runByHand becomes a test binary of the image's plan, as the agent would start it.
func runByHand(args []string) error {
	plan, err := readPlan()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		for _, b := range plan.Binaries {
			fmt.Printf("%s\t%s\n", b.Name, b.Path)
		}
		return nil
	}
	i := slices.IndexFunc(plan.Binaries, func(b wire.Binary) bool { return b.Name == args[0] })
	if i < 0 {
		return fmt.Errorf("no test binary is called %q: without arguments this lists them", args[0])
	}
	b := plan.Binaries[i]
	if err := os.Chdir(b.Dir); err != nil {
		return err
	}
	a := agent{plan: plan}
	if err := unix.Exec(b.Path, testArgs(plan, b, args[1:]), a.env(b)); err != nil {
		return fmt.Errorf("starting %s: %w", b.Path, err)
	}
	return nil
}

// testArgs are those of a binary that a person starts, whose own come last and hold.
func testArgs(plan wire.Plan, b wire.Binary, own []string) []string {
	args := []string{b.Path, "-test.v", "-test.timeout=0"}
	if plan.Run != "" {
		args = append(args, "-test.run="+plan.Run)
	}
	return slices.Concat(args, b.Args, own)
}
