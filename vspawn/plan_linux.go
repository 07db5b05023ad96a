package vspawn

import (
	"cmp"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Plan is a child in the making: its system calls in order, with all that
// they point to. It does not change, and can be started any number of times,
// from any number of goroutines.
type Plan struct {
	*compiled
	command *command // in place of the compiled one, if not nil
	own     command  // what it points to then
}

// A command is a program with its arguments and its environment.
type command struct {
	path      string
	argv, env []string
}

// compiled is what Compile makes.
type compiled struct {
	ops         []op
	mem         memory
	cloneFlags  uint64 // namespaces and CLONE_INTO_CGROUP
	cgroup      int    // descriptor, under CLONE_INTO_CGROUP
	top         int    // above every descriptor that parent and child use
	lowTop      int    // top without the sources of Files
	sources     []int  // of Files
	spares      int    // how many numbers from there on the child uses in between
	spareFor    string // the field that the first of them is for
	numbers     []int  // all that the Attr names, what may be one in Syscalls too
	parents     []int  // those that the parent has open
	opens       []int  // where Syscalls may open descriptors: at the first free numbers from these on
	mostOpened  int    // how many, but for those that are sent to the child
	ownTable    bool   // a full copy of the descriptor table is needed
	inherits    bool   // the child gets descriptors that the plan does not know
	credentials bool   // the child changes its credentials
	newUser     bool   // it is born in a new user namespace
	pdeathsig   bool   // the child is to be started from a lasting thread
	dies        bool   // and dies with this process, if only by that
	bornNNP     bool   // it may have no_new_privs from its birth on
	traced      bool   // the child is traced by the thread that starts it
	stopped     bool   // and is to be left stopped, without a tracer
	execPath    arg    // a name for the program that is a descriptor,
	execByName  bool   // if that is sure to be the same file

	// The child writes a file of its own below /proc.
	writesOwnProc bool
	oomScoreAdj   int
	oomScoreFD    int  // where the child has it
	tracedScore   bool // its tracer writes it instead

	apart []apartness // to be seen to before each start
	byPid string      // the field of a process that Setns names, or ""

	maps    []mapFile // written by the parent while the child waits
	asks    bool      // the child asks its parent: for the maps, or whether it lives
	mayAsk  bool      // it does so where its parent has no number
	asksFor string    // the first field for which it does, or may
	mask    *uint64   // of a traced child's program; nil is the parent's thread's
	kept    []keptFile

	ready atomic.Pointer[loaded] // for this kernel, once it was loaded
}

// For gives a plan for another program with p's attributes: path, argv and env take
// the place of p's own, as if Compile had been called with them and the same Attr; but
// that is not gone through again, which makes it cheap. It is for who starts many
// programs in the same way: p is compiled once, with any path, and
//
//	q, err := p.For("/bin/ls", []string{"ls", "-l"}, nil)
//
// for each. p itself stays as it is. A nil argv stands for just path; a nil env is the
// parent's now, an empty one none. argv and env are not copied: they must not change
// as long as the plan is used. A plan with ExecFD can't be for another program:
// that is an [*AttrError], as bad input is.
func (p *Plan) For(path string, argv, env []string) (*Plan, error) {
	if p.ops[len(p.ops)-1].call != sysExecve {
		return nil, refuse("path", "%q contradicts ExecFD", path)
	}
	if argv == nil {
		argv = []string{path}
	}
	if env == nil {
		env = os.Environ()
	}
	if err := cmp.Or(checkProgram(path, argv), checkString("path", path), checkStrings("argv", argv),
		checkStrings("Env", env)); err != nil {
		return nil, err
	}
	q := &Plan{compiled: p.compiled, own: command{path, argv, env}}
	q.command = &q.own
	return q, nil
}

// op is the execve, without the addresses.
func (c *command) op() *op {
	return &op{call: sysExecve, object: c.path, explain: explainExec,
		args: []arg{{show: quotedString(c.path)}, {show: c.argv}, {show: environment(len(c.env))}}}
}

// String prints the child's system calls, one a line, as strace would, on a
// kernel that has all that the plan can use.
func (p *Plan) String() string {
	var b strings.Builder
	b.WriteString("clone3({flags=" + flagNames(p.flags(full)) + ", exit_signal=SIGCHLD})\n")
	for i := range p.ops {
		o := &p.ops[i]
		if p.command != nil && i == len(p.ops)-1 {
			o = p.command.op()
		}
		if s := p.line(o); s != "" {
			b.WriteString(s + "\n")
		}
	}
	return b.String()
}

func (p *Plan) line(o *op) string {
	switch {
	case o.kind == opUnshareFiles && !p.shares(full):
		return ""
	case o.kind == opUnshareFiles:
		return o.name + "(" + itoa(p.top) + ", " + arg{val: lastDescriptor}.String() + ", CLOSE_RANGE_UNSHARE)"
	case o.kind == opCloseRange && p.closed(o, full, p.asks), o.kind == opClosePeer && !p.asks:
		return ""
	case o.kind == opNofile && !raisedNofile():
		return ""
	}
	return o.String()
}

// flags are those of clone on a kernel with the features f.
func (p *Plan) flags(f *FeatureSet) uint64 {
	flags := p.cloneFlags | unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PARENT_SETTID
	if p.traced && f.SharedMemory {
		flags &^= unix.CLONE_VFORK // our thread has to answer its stops
	}
	if f.Clone3 {
		flags |= unix.CLONE_PIDFD
	}
	if f.ClearSighand {
		flags |= unix.CLONE_CLEAR_SIGHAND
	}
	if p.shares(f) {
		flags |= unix.CLONE_FILES
	}
	return flags
}

// shares tells whether the child begins with the parent's own descriptor
// table. Its first call then copies as much of it as it needs, so that a start
// costs the same however many descriptors are open.
func (p *Plan) shares(f *FeatureSet) bool { return f.CloseRangeUnshare && !p.ownTable }

// closed tells whether o has nothing left to close after opUnshareFiles. What a
// child asks its parent by, which the plan does not know, may lie above top.
func (p *Plan) closed(o *op, f *FeatureSet, asks bool) bool {
	return p.shares(f) && !asks && int(o.args[0].val) >= p.top
}

// cloneFlagNames are the flags that a plan can have.
var cloneFlagNames = []struct {
	flag uint64
	name string
}{
	{unix.CLONE_VM, "CLONE_VM"},
	{unix.CLONE_VFORK, "CLONE_VFORK"},
	{unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"},
	{unix.CLONE_PIDFD, "CLONE_PIDFD"},
	{unix.CLONE_FILES, "CLONE_FILES"},
	{unix.CLONE_CLEAR_SIGHAND, "CLONE_CLEAR_SIGHAND"},
	{unix.CLONE_INTO_CGROUP, "CLONE_INTO_CGROUP"},
	{cloneAutoreap, "CLONE_AUTOREAP"},
	{cloneNNP, "CLONE_NNP"},
	{cloneAutokill, "CLONE_PIDFD_AUTOKILL"},
	{unix.CLONE_UNTRACED, "CLONE_UNTRACED"},
	{unix.CLONE_PTRACE, "CLONE_PTRACE"},
	{unix.CLONE_SYSVSEM, "CLONE_SYSVSEM"},
	{unix.CLONE_IO, "CLONE_IO"},
	{unix.CLONE_NEWNS, "CLONE_NEWNS"},
	{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
	{unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
	{unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
	{unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
	{unix.CLONE_NEWPID, "CLONE_NEWPID"},
	{unix.CLONE_NEWNET, "CLONE_NEWNET"},
	{unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
}

func flagNames(flags uint64) string {
	var names []string
	for _, f := range cloneFlagNames {
		if flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, "|")
}
