//go:build linux

// vspawn starts a program by vfork.
//
// Synopsis:
//
//	vspawn run [OPTIONS] [--] PROGRAM [ARG]...
//	vspawn plan [OPTIONS] [--] PROGRAM [ARG]...
//	vspawn features
//
// Description:
//
//	run starts the program, waits for it, and exits with its status, or with
//	128 plus the number of the signal that ended it. Meanwhile it passes on
//	SIGHUP, SIGTERM, SIGUSR1 and SIGUSR2; SIGINT and SIGQUIT too, if the
//	program is in another process group, where the terminal's do not reach it.
//	With -foreground the terminal is given back at the end.
//
//	plan prints the system calls that the child would make. features prints
//	what the kernel offers for it.
//
//	A program without a slash in its name is searched in PATH. The child gets
//	our descriptors 0, 1 and 2, and no others but by -fd.
//
//	The exit status is 2 for bad usage, 127 if the program is not found, and
//	126 if it can't be started for another reason.
//
// Options:
//
//	-env KEY=VALUE                set a variable, beside those inherited; repeatable
//	-clear-env                    inherit no variables
//	-argv0 NAME                   the program's own name, its argv[0]
//	-dir PATH                     working directory
//	-fd CHILD=OURS                pass on our descriptor as the child's, beside 0, 1 and 2; CHILD=- leaves it closed; repeatable
//	-setsid                       lead a new session
//	-pgid ID                      join a process group; 0 is a new one
//	-tty FD                       the terminal that -ctty and -foreground are about; 0 if not given
//	-ctty                         make it the controlling terminal of the new session
//	-foreground                   make the child's process group its foreground group
//	-umask OCTAL                  file mode creation mask
//	-rlimit NAME=SOFT[:HARD]      resource limit, as in stack=16M:unlimited; repeatable
//	-chroot PATH                  root directory
//	-uid USER                     user, by name or number
//	-gid GROUP                    group, by name or number
//	-groups GROUP,...             supplementary groups; without this flag -uid and -gid drop them all
//	-keep-groups                  keep the supplementary groups in spite of -uid or -gid
//	-mask SIGNAL,...              block these signals and no others
//	-default SIGNAL,...           give these signals their default action
//	-ignore SIGNAL,...            ignore these signals
//	-pdeathsig SIGNAL             signal to the child when vspawn dies
//	-new NAMESPACE,...            new namespaces: cgroup, ipc, mount, net, pid, time, user, uts
//	-uid-map INSIDE:OUTSIDE:SIZE  user ids in the new user namespace; repeatable
//	-gid-map INSIDE:OUTSIDE:SIZE  group ids in it; repeatable
//	-allow-setgroups              allow setgroups(2) in it
//	-cgroup PATH                  directory of the cgroup v2 to be born in
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

const (
	exitUsage    = 2
	exitCantRun  = 126
	exitNotFound = 127
	exitSignal   = 128 // and the signal's number
)

func main() {
	os.Exit(run(os.Stdout, os.Stderr, os.Args[1:]))
}

// run is the command. The child's standard descriptors are the process's own,
// whatever stdout and stderr are.
func run(stdout, stderr io.Writer, args []string) (exit int) {
	status, err := dispatch(stdout, args)
	if err == nil {
		return status
	}
	fmt.Fprintln(stderr, "vspawn: "+strings.TrimPrefix(err.Error(), "vspawn: "))
	if status == 0 {
		status = exitStatus(err)
	}
	return status
}

// errUsage is for arguments that make no sense.
type errUsage string

func (e errUsage) Error() string { return string(e) }

func dispatch(stdout io.Writer, args []string) (status int, err error) {
	if len(args) == 0 {
		return 0, errUsage("no command: want run, plan, features or help")
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage())
		return 0, nil
	case "features":
		if len(args) > 0 {
			return 0, errUsage("features takes no arguments")
		}
		return 0, printFeatures(stdout)
	case "run", "plan":
	default:
		return 0, errUsage(fmt.Sprintf("unknown command %q: want run, plan, features or help", name))
	}
	r, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage())
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer r.close()
	plan, err := r.compile()
	if err != nil {
		return 0, err
	}
	if name == "plan" {
		_, err := fmt.Fprint(stdout, plan)
		return 0, err
	}
	return start(plan, r)
}

func exitStatus(err error) int {
	var usage errUsage
	var attr *vspawn.AttrError
	var start *vspawn.Error
	switch {
	case errors.As(err, &usage), errors.As(err, &attr):
		return exitUsage
	case errors.Is(err, exec.ErrNotFound),
		errors.As(err, &start) && start.Step == "execve" && start.Err == unix.ENOENT:
		return exitNotFound
	}
	return exitCantRun
}

func usage() string {
	var b strings.Builder
	b.WriteString("vspawn run [OPTIONS] [--] PROGRAM [ARG]...\n" +
		"vspawn plan [OPTIONS] [--] PROGRAM [ARG]...\n" +
		"vspawn features\n\nOptions:\n")
	for _, o := range options {
		fmt.Fprintf(&b, "  %s\n", o.usage())
	}
	return b.String()
}

func (o *option) usage() string { return fmt.Sprintf("%-29s %s", "-"+o.name+" "+o.value, o.help) }

func printFeatures(w io.Writer) error {
	f, err := vspawn.Features()
	if err != nil {
		return err
	}
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		answer := "no"
		if v.Field(i).Bool() {
			answer = "yes"
		}
		fmt.Fprintf(w, "%-18s %s\n", v.Type().Field(i).Name, answer)
	}
	return nil
}

// A request is what the flags ask for.
type request struct {
	attr     vspawn.Attr
	env      []string
	clearEnv bool
	argv0    string
	cgroup   string
	argv     []string

	cgroupDir *os.File
}

func parse(args []string) (*request, error) {
	r := &request{}
	fs := flag.NewFlagSet("vspawn", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // its errors come with the whole usage
	for _, o := range options {
		set := func(value string) error { return o.set(r, value) }
		if o.value == "" {
			fs.BoolFunc(o.name, o.help, set)
		} else {
			fs.Func(o.name, o.help, set)
		}
	}
	switch err := fs.Parse(args); {
	case err == flag.ErrHelp:
		return nil, err
	case err != nil:
		return nil, errUsage(err.Error())
	case fs.NArg() == 0:
		return nil, errUsage("no program")
	}
	r.argv = fs.Args()
	return r, nil
}

// compile makes the plan.
func (r *request) compile() (*vspawn.Plan, error) {
	a := &r.attr
	path, err := r.find()
	if err != nil {
		return nil, err
	}
	argv := slices.Clone(r.argv)
	if r.argv0 != "" {
		argv[0] = r.argv0
	}
	a.Env = r.environ()
	if (a.ControllingTTY || a.Foreground) && a.TTY == nil {
		a.TTY = vspawn.Ptr(0)
	}
	if r.cgroup != "" {
		r.cgroupDir, err = os.OpenFile(r.cgroup, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, fmt.Errorf("-cgroup: %w", err)
		}
		a.Cgroup = vspawn.Ptr(int(r.cgroupDir.Fd()))
	}
	plan, err := vspawn.Compile(path, argv, a)
	return plan, inFlags(err)
}

func (r *request) close() { r.cgroupDir.Close() }

// find is the program's path. One with a slash is the child's to find, from
// its own directory and root.
func (r *request) find() (string, error) {
	name := r.argv[0]
	switch {
	case name == "":
		return "", errUsage("the program's name is empty")
	case strings.Contains(name, "/"):
		return name, nil
	case r.attr.Chroot != "":
		return "", errUsage(fmt.Sprintf("-chroot: PATH is not searched in another root: give %s with its directory", name))
	}
	return exec.LookPath(name)
}

// environ is the child's environment. A variable is there once, with its last
// value.
func (r *request) environ() []string {
	env := []string{}
	if !r.clearEnv {
		env = os.Environ()
	}
	for _, v := range r.env {
		key := v[:strings.IndexByte(v, '=')+1]
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, key) })
		env = append(env, v)
	}
	return env
}

// inFlags names the flag where an error of Compile's names a field of Attr.
func inFlags(err error) error {
	var a *vspawn.AttrError
	if !errors.As(err, &a) {
		return err
	}
	field, _, _ := strings.Cut(a.Field, "[")
	i := slices.IndexFunc(options, func(o option) bool { return o.field == field })
	if i < 0 {
		return err
	}
	return &vspawn.AttrError{Field: "-" + options[i].name, Reason: a.Reason}
}

// start starts the plan, and waits.
func start(plan *vspawn.Plan, r *request) (status int, err error) {
	forwarded := []os.Signal{unix.SIGHUP, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}
	keyboard := []os.Signal{unix.SIGINT, unix.SIGQUIT}
	// To catch an ignored signal would be to take the ignoring from the child.
	caught := slices.DeleteFunc(slices.Concat(forwarded, keyboard), signal.Ignored)
	ownGroup := r.attr.Setsid || r.attr.Pgid != nil

	if r.attr.Foreground && !r.attr.Setsid {
		defer keepForeground(*r.attr.TTY)()
	}
	signals := make(chan os.Signal, len(caught))
	signal.Notify(signals, caught...)
	defer signal.Stop(signals)
	ctx, stop := signal.NotifyContext(context.Background(), caught...)
	p, err := plan.Start(ctx) // which may hang as long as a dead file system does
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err != nil && interrupted:
		s := <-signals
		return exitSignal + int(s.(syscall.Signal)), err
	case err != nil:
		return 0, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				if ownGroup || !slices.Contains(keyboard, s) {
					p.Signal(s.(syscall.Signal)) // fails only if there is no one left to get it
				}
			case <-ended:
				return
			}
		}
	}()
	state, err := p.Wait(context.Background())
	switch {
	case err != nil:
		return 0, err
	case state.Signaled():
		return exitSignal + int(state.Signal()), nil
	}
	return state.ExitCode(), nil
}

// keepForeground notes whose the terminal is. restore gives it back to them,
// lest whatever comes after us be stopped when it reads.
func keepForeground(tty int) (restore func()) {
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	if err != nil {
		return func() {} // no terminal of ours: Start says so
	}
	return func() {
		signal.Ignore(unix.SIGTTOU) // which we get for it, being in the background
		defer signal.Reset(unix.SIGTTOU)
		unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, group)
	}
}
