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
//	SIGHUP, SIGTERM, SIGUSR1 and SIGUSR2; SIGINT and SIGQUIT too, to the
//	program's process group, if that is another, which the terminal's do not reach.
//	With -foreground the terminal is given back at the end.
//
//	With -pgid, the program and vspawn are one job to the shell, though they are
//	two process groups: SIGTSTP is passed on as well, and when the program stops,
//	vspawn takes the terminal back and stops too. Continued, it continues the
//	program's group, and gives it the terminal again if it has that itself. Where
//	no shell could continue it, vspawn does not stop, and SIGTSTP does not keep
//	the program stopped either. The stop of -stopped is the program's alone.
//
//	plan prints the system calls that the child would make. features prints
//	what the kernel offers for it.
//
//	A program without a slash in its name is searched in PATH. The child gets
//	our descriptors 0, 1 and 2, and no others but by -fd, -open
//	and -inherit.
//
//	The exit status is 2 for bad usage, 127 if the program is not found, and
//	126 if it can't be started for another reason.
//
// Options:
//
//	-env KEY=VALUE                       set a variable, beside those inherited; repeatable
//	-clear-env                           inherit no variables
//	-argv0 NAME                          the program's own name, its argv[0]
//	-dir PATH                            working directory
//	-dir-fd FD                           working directory, by a descriptor of ours
//	-exec-fd FD                          the program, by a descriptor of ours; PROGRAM is its name then
//	-fd CHILD=OURS                       pass on our descriptor as the child's, beside 0, 1 and 2; CHILD=- leaves it closed; repeatable
//	-open CHILD[:FLAG,...[:MODE]]=PATH   have the child open a file, as in 1:write,creat,append:0640=log; repeatable
//	-inherit                             pass on all descriptors that we were given
//	-close FIRST[-[LAST]]                but not these; repeatable
//	-setsid                              lead a new session
//	-pgid ID                             join a process group; 0 is a new one
//	-tty FD                              the terminal that -ctty and -foreground are about; 0 if not given
//	-ctty                                make it the controlling terminal of the new session
//	-foreground                          make the child's process group its foreground group
//	-umask OCTAL                         file mode creation mask
//	-rlimit NAME=SOFT[:HARD]             resource limit, as in stack=16M:unlimited; repeatable
//	-nice N                              nice value, -20 to 19
//	-ionice CLASS[:LEVEL]                input and output: realtime, best-effort, each with 0 to 7, idle or none
//	-sched POLICY[:PARAMETERS]           other, batch, idle, ext, fifo:PRIORITY, rr:PRIORITY, or deadline:RUNTIME:DEADLINE:PERIOD as in 10ms
//	-reset-on-fork                       give the child's children the usual policy
//	-cpus LIST                           CPUs to run on, as in 0-3,5
//	-core-sched                          share the threads of a core with no one
//	-timer-slack DURATION                by how much timers may be late, as in 50us
//	-oom-score-adj N                     how willingly it is killed when memory runs out, -1000 to 1000
//	-personality NAME,...                execution domain, with setarch's names, as in addr-no-randomize
//	-new-keyring                         a session keyring of its own
//	-chroot PATH                         root directory
//	-uid USER                            user, by name or number
//	-gid GROUP                           group, by name or number
//	-groups GROUP,...                    supplementary groups; without this flag -uid and -gid drop them all
//	-keep-groups                         keep the supplementary groups in spite of -uid or -gid
//	-caps SET[/SET[/SET]]                permitted, effective (if not given, as permitted) and inheritable capabilities
//	-ambient SET                         capabilities that the program keeps, as in net_bind_service,net_raw
//	-bounding SET                        capabilities that can be gained at all, as in all,-sys_admin
//	-securebits BIT,...                  what being root means, as in noroot,noroot_locked
//	-keep-caps                           keep the permitted capabilities over -uid, until exec
//	-no-new-privs                        gain no privileges by exec
//	-landlock-access KIND:RIGHT,...      deny these rights of fs, net or scope, as in fs:all; repeatable
//	-landlock-rule KIND:RIGHT,...:OBJECT but for these, as in path:read-file,read-dir:/usr or port:connect-tcp:443; repeatable
//	-seccomp FILE                        filter of system calls: BPF instructions, in the machine's byte order
//	-mask SIGNAL,...                     block these signals and no others
//	-default SIGNAL,...                  give these signals their default action
//	-ignore SIGNAL,...                   ignore these signals
//	-pdeathsig SIGNAL                    signal to the child when vspawn dies
//	-die-with-parent                     kill the child when vspawn dies
//	-new NAMESPACE,...                   new namespaces: cgroup, ipc, mount, net, pid, time, user, uts
//	-setns FILE|PID:NAMESPACE,...        enter the namespace of a file of /proc/PID/ns, or those of a process; repeatable
//	-unshare NAMESPACE,...               new namespaces after -setns
//	-uid-map INSIDE:OUTSIDE:SIZE         user ids in the new user namespace; repeatable
//	-gid-map INSIDE:OUTSIDE:SIZE         group ids in it; repeatable
//	-allow-setgroups                     allow setgroups(2) in it
//	-cgroup PATH                         directory of the cgroup v2 to be born in
//	-private-mounts                      no mount of the child's reaches ours, nor one of ours the child's
//	-mount SOURCE:TARGET:TYPE[:OPTIONS]  one mount(2), with options as in mount(8): ro,nosuid,size=1m; repeatable
//	-pivot-root PATH                     a mount point that becomes the root
//	-hostname NAME                       host name in the new UTS namespace
//	-stopped                             stop before the first instruction; SIGCONT lets it go on
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

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/vspawn"
)

const (
	exitUsage    = usage.StatusUsage
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

func dispatch(stdout io.Writer, args []string) (status int, err error) {
	if len(args) == 0 {
		return 0, usage.Errorf("no command: want run, plan, features or help")
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, help())
		return 0, nil
	case "features":
		if len(args) > 0 {
			return 0, usage.Errorf("features takes no arguments")
		}
		return 0, printFeatures(stdout)
	case "run", "plan":
	default:
		return 0, usage.Errorf("unknown command %q: want run, plan, features or help", name)
	}
	r, err := parse(args)
	defer r.close()
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, help())
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
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
	var attr *vspawn.AttrError
	var start *vspawn.Error
	switch {
	case usage.Is(err), errors.As(err, &attr):
		return exitUsage
	case errors.Is(err, exec.ErrNotFound),
		errors.As(err, &start) && start.Step == "execve" && start.Err == unix.ENOENT:
		return exitNotFound
	}
	return exitCantRun
}

func help() string {
	var b strings.Builder
	b.WriteString("vspawn run [OPTIONS] [--] PROGRAM [ARG]...\n" +
		"vspawn plan [OPTIONS] [--] PROGRAM [ARG]...\n" +
		"vspawn features\n\nOptions:\n")
	for _, o := range options {
		fmt.Fprintf(&b, "  %s\n", o.usage())
	}
	return b.String()
}

func (o *option) usage() string { return fmt.Sprintf("%-36s %s", "-"+o.name+" "+o.value, o.help) }

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

// start starts the plan, and waits.
func start(plan *vspawn.Plan, r *request) (status int, err error) {
	forwarded := []os.Signal{unix.SIGHUP, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}
	keyboard := []os.Signal{unix.SIGINT, unix.SIGQUIT}
	// To catch an ignored signal would be to take the ignoring from the child.
	caught := slices.DeleteFunc(slices.Concat(forwarded, keyboard), signal.Ignored)

	var tty *terminal
	if r.attr.Foreground && !r.attr.Setsid {
		tty = newTerminal(int(r.attr.TTY.(vspawn.FD)))
		defer tty.takeBack()
	}
	signals := make(chan os.Signal, len(caught))
	signal.Notify(signals, caught...)
	defer signal.Stop(signals)
	stops := make(chan os.Signal, 2)
	notifyJob(stops, r)
	defer signal.Stop(stops)
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
	j := newJob(p, tty, r)
	changes := j.watch()
	for {
		select {
		case s := <-signals:
			if s := s.(syscall.Signal); slices.Contains(keyboard, os.Signal(s)) {
				j.key(s)
			} else {
				j.pass(s)
			}
		case s := <-stops:
			j.signal(s.(syscall.Signal))
		case c := <-changes:
			switch {
			case c.err != nil:
				return 0, c.err
			case c.state.Stopped():
				j.follow(c.state.Signal())
			case c.state.Signaled():
				return exitSignal + int(c.state.Signal()), nil
			default:
				return c.state.ExitCode(), nil
			}
		}
	}
}
