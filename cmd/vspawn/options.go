//go:build linux

package main

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
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
	{"fd", "Files", "CHILD=OURS", "pass on our descriptor as the child's, beside 0, 1 and 2; CHILD=- leaves it closed; repeatable", setFile},
	{"setsid", "Setsid", "", "lead a new session", toggle(func(r *request) *bool { return &r.attr.Setsid })},
	{"pgid", "Pgid", "ID", "join a process group; 0 is a new one", number(func(r *request) **int { return &r.attr.Pgid }, 10)},
	{"tty", "TTY", "FD", "the terminal that -ctty and -foreground are about; 0 if not given", number(func(r *request) **int { return &r.attr.TTY }, 10)},
	{"ctty", "ControllingTTY", "", "make it the controlling terminal of the new session", toggle(func(r *request) *bool { return &r.attr.ControllingTTY })},
	{"foreground", "Foreground", "", "make the child's process group its foreground group", toggle(func(r *request) *bool { return &r.attr.Foreground })},
	{"umask", "Umask", "OCTAL", "file mode creation mask", number(func(r *request) **int { return &r.attr.Umask }, 8)},
	{"rlimit", "Rlimits", "NAME=SOFT[:HARD]", "resource limit, as in stack=16M:unlimited; repeatable", setRlimit},
	{"chroot", "Chroot", "PATH", "root directory", text(func(r *request) *string { return &r.attr.Chroot })},
	{"uid", "UID", "USER", "user, by name or number", setUID},
	{"gid", "GID", "GROUP", "group, by name or number", setGID},
	{"groups", "Groups", "GROUP,...", "supplementary groups; without this flag -uid and -gid drop them all", setGroups},
	{"keep-groups", "KeepGroups", "", "keep the supplementary groups in spite of -uid or -gid", toggle(func(r *request) *bool { return &r.attr.KeepGroups })},
	{"mask", "SignalMask", "SIGNAL,...", "block these signals and no others", signals(func(r *request) *[]syscall.Signal { return &r.attr.SignalMask })},
	{"default", "DefaultSignals", "SIGNAL,...", "give these signals their default action", signals(func(r *request) *[]syscall.Signal { return &r.attr.DefaultSignals })},
	{"ignore", "IgnoreSignals", "SIGNAL,...", "ignore these signals", signals(func(r *request) *[]syscall.Signal { return &r.attr.IgnoreSignals })},
	{"pdeathsig", "Pdeathsig", "SIGNAL", "signal to the child when vspawn dies", setPdeathsig},
	{"new", "Cloneflags", "NAMESPACE,...", "new namespaces: cgroup, ipc, mount, net, pid, time, user, uts", setNamespaces},
	{"uid-map", "UIDMap", "INSIDE:OUTSIDE:SIZE", "user ids in the new user namespace; repeatable", idMap(func(r *request) *[]vspawn.IDMap { return &r.attr.UIDMap })},
	{"gid-map", "GIDMap", "INSIDE:OUTSIDE:SIZE", "group ids in it; repeatable", idMap(func(r *request) *[]vspawn.IDMap { return &r.attr.GIDMap })},
	{"allow-setgroups", "AllowSetgroups", "", "allow setgroups(2) in it", toggle(func(r *request) *bool { return &r.attr.AllowSetgroups })},
	{"cgroup", "Cgroup", "PATH", "directory of the cgroup v2 to be born in", text(func(r *request) *string { return &r.cgroup })},
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

func idMap(field func(*request) *[]vspawn.IDMap) func(*request, string) error {
	return func(r *request, value string) error {
		parts := strings.Split(value, ":")
		var n [3]int
		if len(parts) != len(n) {
			return errors.New("want INSIDE:OUTSIDE:SIZE")
		}
		for i, part := range parts {
			v, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				return fmt.Errorf("%q: %w", part, cause(err))
			}
			n[i] = int(v)
		}
		list := field(r)
		*list = append(*list, vspawn.IDMap{Inside: n[0], Outside: n[1], Size: n[2]})
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

func setFile(r *request, value string) error {
	to, from, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("want CHILD=OURS")
	}
	child, err := strconv.Atoi(to)
	if err != nil {
		return fmt.Errorf("%q: %w", to, cause(err))
	}
	if r.attr.Files == nil {
		r.attr.Files = []vspawn.File{{Child: 0, Parent: 0}, {Child: 1, Parent: 1}, {Child: 2, Parent: 2}}
	}
	r.attr.Files = slices.DeleteFunc(r.attr.Files, func(f vspawn.File) bool { return f.Child == child })
	if from == "-" {
		return nil
	}
	parent, err := strconv.Atoi(from)
	if err != nil {
		return fmt.Errorf("%q: %w", from, cause(err))
	}
	// Nothing that we were given is close-on-exec; what is, is our own runtime's.
	if flags, err := unix.FcntlInt(uintptr(parent), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		return fmt.Errorf("descriptor %d is not open", parent)
	}
	r.attr.Files = append(r.attr.Files, vspawn.File{Child: child, Parent: parent})
	return nil
}

func setRlimit(r *request, value string) error {
	name, limits, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("want NAME=SOFT[:HARD]")
	}
	resource, ok := resources[strings.ToLower(name)]
	if !ok {
		return fmt.Errorf("%q is not a resource", name)
	}
	soft, hard, both := strings.Cut(limits, ":")
	if !both {
		hard = soft
	}
	l := vspawn.Rlimit{Resource: resource}
	var err error
	if l.Soft, err = parseLimit(soft); err != nil {
		return err
	}
	if l.Hard, err = parseLimit(hard); err != nil {
		return err
	}
	r.attr.Rlimits = append(r.attr.Rlimits, l)
	return nil
}

// resources are the names of getrlimit(2), without their prefix.
var resources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// parseLimit takes a number with K, M or G behind it, powers of 1024, or
// "unlimited".
func parseLimit(s string) (uint64, error) {
	const unlimited = ^uint64(0)
	if s == "unlimited" {
		return unlimited, nil
	}
	digits, shift := s, 0
	if i := len(s) - 1; i > 0 {
		if unit := strings.IndexByte("KMG", s[i]&^0x20); unit >= 0 {
			digits, shift = s[:i], 10*(unit+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", s, cause(err))
	}
	if n > unlimited>>shift {
		return 0, fmt.Errorf("%q: %w", s, strconv.ErrRange)
	}
	return n << shift, nil
}

func setUID(r *request, value string) error {
	id, err := parseID(value, lookupUser)
	r.attr.UID = &id
	return err
}

func setGID(r *request, value string) error {
	id, err := parseID(value, lookupGroup)
	r.attr.GID = &id
	return err
}

func setGroups(r *request, value string) error {
	if r.attr.Groups == nil {
		r.attr.Groups = []int{}
	}
	for _, name := range split(value) {
		id, err := parseID(name, lookupGroup)
		if err != nil {
			return err
		}
		r.attr.Groups = append(r.attr.Groups, id)
	}
	return nil
}

// parseID takes a number as it is, since an image may have no /etc/passwd.
func parseID(s string, lookup func(name string) (string, error)) (int, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if errors.Is(err, strconv.ErrSyntax) {
		var found string
		if found, err = lookup(s); err == nil {
			id, err = strconv.ParseUint(found, 10, 32)
		}
	}
	if err != nil {
		return 0, cause(err)
	}
	return int(id), nil
}

func lookupUser(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func lookupGroup(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
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

func setNamespaces(r *request, value string) error {
	for _, name := range split(value) {
		flag, ok := namespaces[name]
		if !ok {
			return fmt.Errorf("%q is not a namespace", name)
		}
		r.attr.Cloneflags |= flag
	}
	return nil
}

var namespaces = map[string]uintptr{
	"cgroup": unix.CLONE_NEWCGROUP, "ipc": unix.CLONE_NEWIPC, "mount": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET,
	"pid": unix.CLONE_NEWPID, "time": unix.CLONE_NEWTIME, "user": unix.CLONE_NEWUSER, "uts": unix.CLONE_NEWUTS,
}

// split is strings.Split at commas, but nothing has no elements.
func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
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
