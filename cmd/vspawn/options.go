//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// An option is a flag of run and plan.
type option struct {
	name  string
	field string // of vspawn.Attr
	value string // what its value is; "" is a switch
	help  string
	set   func(r *request, value string) error
}

// options are all of them, in the order of vspawn.Attr.
var options = []option{
	{"env", "Env", "KEY=VALUE", "set a variable, beside those inherited; repeatable", setEnv},
	{"clear-env", "Env", "", "inherit no variables", toggle(func(r *request) *bool { return &r.clearEnv })},
	{"argv0", "argv", "NAME", "the program's own name, its argv[0]", text(func(r *request) *string { return &r.argv0 })},
	{"dir", "Dir", "PATH", "working directory", text(func(r *request) *string { return &r.attr.Dir })},
	{"dir-fd", "DirFD", "FD", "working directory, by a descriptor of ours", descriptor(func(r *request) *vspawn.Descriptor { return &r.attr.DirFD })},
	{"exec-fd", "ExecFD", "FD", "the program, by a descriptor of ours; PROGRAM is its name then", descriptor(func(r *request) *vspawn.Descriptor { return &r.attr.ExecFD })},
	{"fd", "Files", "CHILD=OURS", "pass on our descriptor as the child's, beside 0, 1 and 2; CHILD=- leaves it closed; repeatable", setFile},
	{"open", "Files", "CHILD[:FLAG,...[:MODE]]=PATH", "have the child open a file, as in 1:write,creat,append:0640=log; repeatable", setOpen},
	{"inherit", "InheritFiles", "", "pass on all descriptors that we were given", toggle(func(r *request) *bool { return &r.attr.InheritFiles })},
	{"close", "CloseRanges", "FIRST[-[LAST]]", "but not these; repeatable", setClose},
	{"setsid", "Setsid", "", "lead a new session", toggle(func(r *request) *bool { return &r.attr.Setsid })},
	{"pgid", "Pgid", "ID", "join a process group; 0 is a new one", number(func(r *request) **int { return &r.attr.Pgid }, 10)},
	{"tty", "TTY", "FD", "the terminal that -ctty and -foreground are about; 0 if not given", setTTY},
	{"ctty", "ControllingTTY", "", "make it the controlling terminal of the new session", toggle(func(r *request) *bool { return &r.attr.ControllingTTY })},
	{"foreground", "Foreground", "", "make the child's process group its foreground group", toggle(func(r *request) *bool { return &r.attr.Foreground })},
	{"umask", "Umask", "OCTAL", "file mode creation mask", number(func(r *request) **int { return &r.attr.Umask }, 8)},
	{"rlimit", "Rlimits", "NAME=SOFT[:HARD]", "resource limit, as in stack=16M:unlimited; repeatable", setRlimit},
	{"nice", "Nice", "N", "nice value, -20 to 19", number(func(r *request) **int { return &r.attr.Nice }, 10)},
	{"ionice", "IOPriority", "CLASS[:LEVEL]", "input and output: realtime, best-effort, each with 0 to 7, idle or none", setIOPriority},
	{"sched", "Scheduler", "POLICY[:PARAMETERS]", "other, batch, idle, ext, fifo:PRIORITY, rr:PRIORITY, or deadline:RUNTIME:DEADLINE:PERIOD as in 10ms", setScheduler},
	{"reset-on-fork", "Scheduler", "", "give the child's children the usual policy", setResetOnFork},
	{"cpus", "Affinity", "LIST", "CPUs to run on, as in 0-3,5", setAffinity},
	{"core-sched", "CoreSched", "", "share the threads of a core with no one", toggle(func(r *request) *bool { return &r.attr.CoreSched })},
	{"timer-slack", "TimerSlack", "DURATION", "by how much timers may be late, as in 50us", setTimerSlack},
	{"oom-score-adj", "OOMScoreAdj", "N", "how willingly it is killed when memory runs out, -1000 to 1000", number(func(r *request) **int { return &r.attr.OOMScoreAdj }, 10)},
	{"personality", "Personality", "NAME,...", "execution domain, with setarch's names, as in addr-no-randomize", setPersonality},
	{"new-keyring", "NewKeyring", "", "a session keyring of its own", toggle(func(r *request) *bool { return &r.attr.NewKeyring })},
	{"chroot", "Chroot", "PATH", "root directory", text(func(r *request) *string { return &r.attr.Chroot })},
	{"uid", "UID", "USER", "user, by name or number", setUID},
	{"gid", "GID", "GROUP", "group, by name or number", setGID},
	{"groups", "Groups", "GROUP,...", "supplementary groups; without this flag -uid and -gid drop them all", setGroups},
	{"keep-groups", "KeepGroups", "", "keep the supplementary groups in spite of -uid or -gid", toggle(func(r *request) *bool { return &r.attr.KeepGroups })},
	{"caps", "Capabilities", "SET[/SET[/SET]]", "permitted, effective (if not given, as permitted) and inheritable capabilities", setCapabilities},
	{"ambient", "Ambient", "SET", "capabilities that the program keeps, as in net_bind_service,net_raw", setAmbient},
	{"bounding", "Bounding", "SET", "capabilities that can be gained at all, as in all,-sys_admin", setBounding},
	{"securebits", "Securebits", "BIT,...", "what being root means, as in noroot,noroot_locked", setSecurebits},
	{"keep-caps", "KeepCaps", "", "keep the permitted capabilities over -uid, until exec", toggle(func(r *request) *bool { return &r.attr.KeepCaps })},
	{"no-new-privs", "NoNewPrivs", "", "gain no privileges by exec", toggle(func(r *request) *bool { return &r.attr.NoNewPrivs })},
	{"landlock-access", "Landlock", "KIND:RIGHT,...", "deny these rights of fs, net or scope, as in fs:all; repeatable", setLandlockAccess},
	{"landlock-rule", "Landlock", "KIND:RIGHT,...:OBJECT", "but for these, as in path:read-file,read-dir:/usr or port:connect-tcp:443; repeatable", setLandlockRule},
	{"seccomp", "Seccomp", "FILE", "filter of system calls: BPF instructions, in the machine's byte order", setSeccomp},
	{"mask", "SignalMask", "SIGNAL,...", "block these signals and no others", signals(func(r *request) *[]syscall.Signal { return &r.attr.SignalMask })},
	{"default", "DefaultSignals", "SIGNAL,...", "give these signals their default action", signals(func(r *request) *[]syscall.Signal { return &r.attr.DefaultSignals })},
	{"ignore", "IgnoreSignals", "SIGNAL,...", "ignore these signals", signals(func(r *request) *[]syscall.Signal { return &r.attr.IgnoreSignals })},
	{"pdeathsig", "Pdeathsig", "SIGNAL", "signal to the child when vspawn dies", setPdeathsig},
	{"die-with-parent", "DieWithParent", "", "kill the child when vspawn dies", toggle(func(r *request) *bool { return &r.attr.DieWithParent })},
	{"new", "Cloneflags", "NAMESPACE,...", "new namespaces: cgroup, ipc, mount, net, pid, time, user, uts", namespaceFlags(func(r *request) *uintptr { return &r.attr.Cloneflags })},
	{"setns", "Setns", "FILE|PID:NAMESPACE,...", "enter the namespace of a file of /proc/PID/ns, or those of a process; repeatable", setSetns},
	{"unshare", "Unshareflags", "NAMESPACE,...", "new namespaces after -setns", namespaceFlags(func(r *request) *uintptr { return &r.attr.Unshareflags })},
	{"uid-map", "UIDMap", "INSIDE:OUTSIDE:SIZE", "user ids in the new user namespace; repeatable", idMap(func(r *request) *[]vspawn.IDMap { return &r.attr.UIDMap })},
	{"gid-map", "GIDMap", "INSIDE:OUTSIDE:SIZE", "group ids in it; repeatable", idMap(func(r *request) *[]vspawn.IDMap { return &r.attr.GIDMap })},
	{"allow-setgroups", "AllowSetgroups", "", "allow setgroups(2) in it", toggle(func(r *request) *bool { return &r.attr.AllowSetgroups })},
	{"cgroup", "Cgroup", "PATH", "directory of the cgroup v2 to be born in", setCgroup},
	{"private-mounts", "PrivateMounts", "", "no mount of the child's reaches ours, nor one of ours the child's", toggle(func(r *request) *bool { return &r.attr.PrivateMounts })},
	{"mount", "Mounts", "SOURCE:TARGET:TYPE[:OPTIONS]", "one mount(2), with options as in mount(8): ro,nosuid,size=1m; repeatable", setMount},
	{"pivot-root", "PivotRoot", "PATH", "a mount point that becomes the root", text(func(r *request) *string { return &r.attr.PivotRoot })},
	{"hostname", "Hostname", "NAME", "host name in the new UTS namespace", text(func(r *request) *string { return &r.attr.Hostname })},
	{"stopped", "StartStopped", "", "stop before the first instruction; SIGCONT lets it go on", toggle(func(r *request) *bool { return &r.attr.StartStopped })},
}

func text(field func(*request) *string) func(*request, string) error {
	return func(r *request, value string) error {
		if value == "" {
			return errors.New("empty")
		}
		*field(r) = value
		return nil
	}
}

func toggle(field func(*request) *bool) func(*request, string) error {
	return func(r *request, value string) (err error) {
		if *field(r), err = strconv.ParseBool(value); err != nil {
			return errors.New("neither true nor false")
		}
		return nil
	}
}

func number(field func(*request) **int, base int) func(*request, string) error {
	return func(r *request, value string) error {
		n, err := strconv.ParseInt(value, base, 32)
		if err != nil {
			return cause(err)
		}
		*field(r) = vspawn.Ptr(int(n))
		return nil
	}
}

// signals adds to a list. An empty value makes an empty list, where no list
// would mean to inherit.
func signals(field func(*request) *[]syscall.Signal) func(*request, string) error {
	return func(r *request, value string) error {
		list := field(r)
		if *list == nil {
			*list = []syscall.Signal{}
		}
		for _, name := range split(value) {
			s, err := parseSignal(name)
			if err != nil {
				return err
			}
			*list = append(*list, s)
		}
		return nil
	}
}

func setEnv(r *request, value string) error {
	if strings.IndexByte(value, '=') < 1 {
		return errors.New("want KEY=VALUE")
	}
	r.env = append(r.env, value)
	return nil
}

func setPdeathsig(r *request, value string) (err error) {
	r.attr.Pdeathsig, err = parseSignal(value)
	return err
}

// parseSignal takes a name with or without its SIG, or a number.
func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 {
			return 0, fmt.Errorf("%d is not a signal", n)
		}
		return syscall.Signal(n), nil
	}
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%q is not a signal", s)
}

// split is strings.Split at commas, but nothing has no elements.
func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// bits parses a list of names of bits.
func bits(value, what string, names map[string]uint64) (set uint64, err error) {
	for _, name := range split(value) {
		bit, ok := names[name]
		if !ok {
			return 0, fmt.Errorf("%q is not a %s", name, what)
		}
		set |= bit
	}
	return set, nil
}

// cause is what was wrong with a number, without the name of the function that
// found it.
func cause(err error) error {
	var n *strconv.NumError
	if errors.As(err, &n) {
		return n.Err
	}
	return err
}
