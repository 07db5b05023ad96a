//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

var update = flag.Bool("update", false, "write the golden files")

// The test binary is also the program that the command starts: it does what
// its first argument says when this variable is set.
const asChild = "VSPAWN_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		child(os.Args[0], os.Args[1], os.Args[2:])
	}
	os.Exit(m.Run())
}

func child(argv0, what string, args []string) {
	switch what {
	case "exit":
		n, _ := strconv.Atoi(args[0])
		os.Exit(n)
	case "die":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "print": // to descriptor 3
		dir, _ := os.Getwd()
		fmt.Fprintln(os.NewFile(3, "3"), argv0, dir, os.Getenv("A"), os.Getenv("B"), len(os.Environ()))
		os.Exit(0)
	case "await": // the signal, once it was told that we are ready
		n, _ := strconv.Atoi(args[0])
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.Signal(n))
		os.NewFile(3, "3").Write([]byte("."))
		<-c
		os.Exit(40 + n)
	case "terminal": // the leader of a session with a terminal; status 0 is all well
		args := []string{"run", "-pgid", "0", "-foreground", "/proc/self/exe", "is-foreground"}
		status := run(os.Stdout, os.Stderr, args)
		if status == 0 {
			status = isForeground()
		}
		os.Exit(status)
	case "ignores":
		if signal.Ignored(unix.SIGHUP) {
			os.Exit(0)
		}
		os.Exit(1)
	case "is-foreground":
		os.Exit(isForeground())
	case "vspawn":
		os.Exit(run(os.Stdout, os.Stderr, args))
	case "shell":
		os.Exit(shell(args[0]))
	case "script":
		os.Exit(script(args))
	case "player":
		os.Exit(player())
	}
	os.Exit(99)
}

// isForeground gives 0 if our process group is the terminal's.
func isForeground() int {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		fmt.Fprintf(os.Stderr, "the terminal's group is %d (%v), ours %d\n", group, err, unix.Getpgrp())
		return 1
	}
	return 0
}

// vspawnRun runs "vspawn run" of this binary in this process.
func vspawnRun(flags []string, args ...string) (status int, stderr string) {
	var out, err bytes.Buffer
	all := slices.Concat([]string{"run", "-env", asChild + "=1"}, flags, []string{"/proc/self/exe"}, args)
	status = run(&out, &err, all)
	return status, err.String() + out.String()
}

func TestExitStatus(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		stderr string // one line
	}{
		{[]string{"-env", asChild + "=1", "/proc/self/exe", "exit", "0"}, 0, ""},
		{[]string{"-env", asChild + "=1", "--", "/proc/self/exe", "exit", "7"}, 7, ""},
		{[]string{"-env", asChild + "=1", "/proc/self/exe", "die"}, 128 + 9, ""},
		{[]string{"/nope"}, 127, "vspawn: execve /nope: no such file or directory"},
		{[]string{"vspawn-no-such-program"}, 127, `vspawn: exec: "vspawn-no-such-program": executable file not found in $PATH`},
		{[]string{plain}, 126, "vspawn: execve " + plain + ": permission denied"},
		{[]string{"-dir", "/nope", "/proc/self/exe"}, 126, "vspawn: chdir /nope (Attr.Dir): no such file or directory"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(&stdout, &stderr, append([]string{"run"}, c.args...))
			if status != c.status || strings.TrimSuffix(stderr.String(), "\n") != c.stderr || stdout.Len() > 0 {
				t.Errorf("status %d, stderr %q, stdout %q, want %d and %q", status, &stderr, &stdout, c.status, c.stderr)
			}
		})
	}
}

// Bad usage is one line that names the flag, and status 2.
func TestUsageErrors(t *testing.T) {
	for _, c := range []struct{ args, stderr string }{
		{"", "vspawn: no command: want run, plan, features or help"},
		{"walk", `vspawn: unknown command "walk": want run, plan, features or help`},
		{"features x", "vspawn: features takes no arguments"},
		{"run", "vspawn: no program"},
		{"run --", "vspawn: no program"},
		{"run -setsid=perhaps p", `vspawn: invalid boolean value "perhaps" for -setsid: neither true nor false`},
		{"run -dir", "vspawn: flag needs an argument: -dir"},
		{"run -dir= p", `vspawn: invalid value "" for flag -dir: empty`},
		{"run -shell p", "vspawn: flag provided but not defined: -shell"},
		{"run -env A p", `vspawn: invalid value "A" for flag -env: want KEY=VALUE`},
		{"run -env =A p", `vspawn: invalid value "=A" for flag -env: want KEY=VALUE`},
		{"run -fd 3 p", `vspawn: invalid value "3" for flag -fd: want CHILD=OURS`},
		{"run -fd x=1 p", `vspawn: invalid value "x=1" for flag -fd: "x": invalid syntax`},
		{"run -fd 1=x p", `vspawn: invalid value "1=x" for flag -fd: "x": invalid syntax`},
		{"run -fd 3=999 p", `vspawn: invalid value "3=999" for flag -fd: descriptor 999 is not open`},
		{"run -fd -1=1 /p", "vspawn: -fd: child's descriptor -1 is out of range"},
		{"run -pgid x p", `vspawn: invalid value "x" for flag -pgid: invalid syntax`},
		{"run -pgid -1 /p", "vspawn: -pgid: -1 is negative"},
		{"run -setsid -pgid 1 /p", "vspawn: -pgid: 1 contradicts Setsid: a session leader is in its own group"},
		{"run -ctty /p", "vspawn: -ctty: set without Setsid: only a session leader can have one"},
		{"run -tty 0 /p", "vspawn: -tty: set without ControllingTTY or Foreground, which say what for"},
		{"run -umask 8 p", `vspawn: invalid value "8" for flag -umask: invalid syntax`},
		{"run -umask 1000 /p", "vspawn: -umask: 01000 has bits beyond 0777"},
		{"run -rlimit stack p", `vspawn: invalid value "stack" for flag -rlimit: want NAME=SOFT[:HARD]`},
		{"run -rlimit heap=1 p", `vspawn: invalid value "heap=1" for flag -rlimit: "heap" is not a resource`},
		{"run -rlimit stack=1T p", `vspawn: invalid value "stack=1T" for flag -rlimit: "1T": invalid syntax`},
		{"run -rlimit stack=1:x p", `vspawn: invalid value "stack=1:x" for flag -rlimit: "x": invalid syntax`},
		{"run -rlimit stack=17179869184G p", `vspawn: invalid value "stack=17179869184G" for flag -rlimit: "17179869184G": value out of range`},
		{"run -rlimit stack=2:1 /p", "vspawn: -rlimit: the soft limit 2 is above the hard limit 1"},
		{"run -rlimit core=1 -rlimit core=2 /p", "vspawn: -rlimit: RLIMIT_CORE is named twice"},
		{"run -chroot /x p", "vspawn: -chroot: PATH is not searched in another root: give p with its directory"},
		{"run -uid vspawn-nobody p", `vspawn: invalid value "vspawn-nobody" for flag -uid: user: unknown user vspawn-nobody`},
		{"run -gid vspawn-nobody p", `vspawn: invalid value "vspawn-nobody" for flag -gid: group: unknown group vspawn-nobody`},
		{"run -groups 1,,2 p", `vspawn: invalid value "1,,2" for flag -groups: group: unknown group `},
		{"run -uid 4294967295 /p", "vspawn: -uid: 4294967295 is not an id"},
		{"run -uid 4294967296 p", `vspawn: invalid value "4294967296" for flag -uid: value out of range`},
		{"run -groups 1 -keep-groups /p", "vspawn: -keep-groups: contradicts Groups"},
		{"run -mask FOO p", `vspawn: invalid value "FOO" for flag -mask: "FOO" is not a signal`},
		{"run -ignore 65 p", `vspawn: invalid value "65" for flag -ignore: 65 is not a signal`},
		{"run -default KILL /p", "vspawn: -default: SIGKILL can't be blocked, ignored or caught"},
		{"run -pdeathsig 0 p", `vspawn: invalid value "0" for flag -pdeathsig: 0 is not a signal`},
		{"run -new pid,disk p", `vspawn: invalid value "pid,disk" for flag -new: "disk" is not a namespace`},
		{"run -uid-map 0:0 p", `vspawn: invalid value "0:0" for flag -uid-map: want INSIDE:OUTSIDE:SIZE`},
		{"run -uid-map 0:-1:1 p", `vspawn: invalid value "0:-1:1" for flag -uid-map: "-1": invalid syntax`},
		{"run -gid-map 0:0:1 /p", "vspawn: -gid-map: needs CLONE_NEWUSER in Cloneflags"},
		{"run -allow-setgroups /p", "vspawn: -allow-setgroups: set without a GIDMap"},
		{"run -cgroup /nope p", `vspawn: invalid value "/nope" for flag -cgroup: open /nope: no such file or directory`},
		{"run -dir-fd 999 p", `vspawn: invalid value "999" for flag -dir-fd: descriptor 999 is not open`},
		{"run -dir-fd 0 -dir / /p", "vspawn: -dir-fd: contradicts Dir"},
		{"run -exec-fd x p", `vspawn: invalid value "x" for flag -exec-fd: "x": invalid syntax`},
		{"run -open 3 p", `vspawn: invalid value "3" for flag -open: want CHILD[:FLAG,...[:MODE]]=PATH`},
		{"run -open 3= p", `vspawn: invalid value "3=" for flag -open: want CHILD[:FLAG,...[:MODE]]=PATH`},
		{"run -open x=/p p", `vspawn: invalid value "x=/p" for flag -open: "x": invalid syntax`},
		{"run -open 3:rw=/p p", `vspawn: invalid value "3:rw=/p" for flag -open: "rw" is not a flag of open`},
		{"run -open 3:read:9=/p p", `vspawn: invalid value "3:read:9=/p" for flag -open: "9": invalid syntax`},
		{"run -open 3:read:10000=/p /p", "vspawn: -open: mode 010000 has bits beyond 07777"},
		{"run -inherit -fd 2=- /p", "vspawn: -fd: 2=- contradicts -inherit: want -close"},
		{"run -close 3 /p", "vspawn: -close: set without InheritFiles: all but Files is closed"},
		{"run -close x p", `vspawn: invalid value "x" for flag -close: "x": invalid syntax`},
		{"run -close 4-3 p", `vspawn: invalid value "4-3" for flag -close: "4-3" ends before it begins`},
		{"run -nice 20 /p", "vspawn: -nice: 20 is not from -20 to 19"},
		{"run -ionice high p", `vspawn: invalid value "high" for flag -ionice: "high" is not a class`},
		{"run -ionice idle:1 p", `vspawn: invalid value "idle:1" for flag -ionice: idle has no levels`},
		{"run -ionice realtime:x p", `vspawn: invalid value "realtime:x" for flag -ionice: "x": invalid syntax`},
		{"run -ionice best-effort:8 /p", "vspawn: -ionice: class 2, level 8: want 0 to 3, and 0 to 7"},
		{"run -sched slow p", `vspawn: invalid value "slow" for flag -sched: "slow" is not a policy`},
		{"run -sched fifo p", `vspawn: invalid value "fifo" for flag -sched: want fifo:PRIORITY`},
		{"run -sched rr:100 p", `vspawn: invalid value "rr:100" for flag -sched: priority 100 is not from 1 to 99`},
		{"run -sched rr:x p", `vspawn: invalid value "rr:x" for flag -sched: "x": invalid syntax`},
		{"run -sched idle:1 p", `vspawn: invalid value "idle:1" for flag -sched: idle has no parameters`},
		{"run -sched deadline:1ms:2ms p", `vspawn: invalid value "deadline:1ms:2ms" for flag -sched: want deadline:RUNTIME:DEADLINE:PERIOD`},
		{"run -sched deadline:1ms:2ms:3 p", `vspawn: invalid value "deadline:1ms:2ms:3" for flag -sched: "3" is not a duration, such as 10ms or 50us`},
		{"run -sched deadline:3ms:2ms:4ms /p", "vspawn: -sched: want 0 < Runtime 3ms <= Deadline 2ms <= Period 4ms"},
		{"run -reset-on-fork=x p", `vspawn: invalid boolean value "x" for -reset-on-fork: neither true nor false`},
		{"run -cpus= p", `vspawn: invalid value "" for flag -cpus: "": invalid syntax`},
		{"run -cpus 0-9000 p", `vspawn: invalid value "0-9000" for flag -cpus: "9000": value out of range`},
		{"run -cpus 0- p", `vspawn: invalid value "0-" for flag -cpus: "0-" has no end`},
		{"run -timer-slack 50 p", `vspawn: invalid value "50" for flag -timer-slack: "50" is not a duration, such as 10ms or 50us`},
		{"run -timer-slack 0s p", `vspawn: invalid value "0s" for flag -timer-slack: "0s" is not above 0`},
		{"run -oom-score-adj 1001 /p", "vspawn: -oom-score-adj: 1001 is not from -1000 to 1000"},
		{"run -personality odd p", `vspawn: invalid value "odd" for flag -personality: "odd" is not a personality`},
		{"run -pivot-root /x p", "vspawn: -pivot-root: PATH is not searched in another root: give p with its directory"},
		{"run -caps chown,root p", `vspawn: invalid value "chown,root" for flag -caps: "root" is not a capability`},
		{"run -caps ,/,/,/ p", `vspawn: invalid value ",/,/,/" for flag -caps: want PERMITTED[/EFFECTIVE[/INHERITABLE]]`},
		{"run -caps /chown /p", "vspawn: -caps: 0x1 can't be effective without being permitted"},
		{"run -caps chown -ambient chown /p", "vspawn: -ambient: 0x1 can't be ambient without being permitted and inheritable"},
		{"run -bounding x p", `vspawn: invalid value "x" for flag -bounding: "x" is not a capability`},
		{"run -securebits x p", `vspawn: invalid value "x" for flag -securebits: "x" is not a securebit`},
		{"run -landlock-access disk:all p", `vspawn: invalid value "disk:all" for flag -landlock-access: "disk" is neither fs, net nor scope`},
		{"run -landlock-access fs:bind-tcp p", `vspawn: invalid value "fs:bind-tcp" for flag -landlock-access: "bind-tcp" is not a right of fs`},
		{"run -landlock-access fs /p", "vspawn: -landlock-access: it handles nothing, so it would allow everything"},
		{"run -landlock-rule path:all p", `vspawn: invalid value "path:all" for flag -landlock-rule: want KIND:RIGHT,...:OBJECT`},
		{"run -landlock-rule file:all:/ p", `vspawn: invalid value "file:all:/" for flag -landlock-rule: "file" is neither path nor port`},
		{"run -landlock-rule port:all:65536 p", `vspawn: invalid value "port:all:65536" for flag -landlock-rule: "65536": value out of range`},
		{"run -landlock-access net:bind-tcp -landlock-rule port:all:1 /p", "vspawn: -landlock-rule: allows 0x3, but 0x1 is handled"},
		{"run -seccomp /nope p", `vspawn: invalid value "/nope" for flag -seccomp: open /nope: no such file or directory`},
		{"run -seccomp /dev/null p", `vspawn: invalid value "/dev/null" for flag -seccomp: want 1 to 4096 instructions of 8 bytes`},
		{"run -seccomp /dev/zero p", `vspawn: invalid value "/dev/zero" for flag -seccomp: want 1 to 4096 instructions of 8 bytes`},
		{"run -setns /nope p", `vspawn: invalid value "/nope" for flag -setns: open /nope: no such file or directory`},
		{"run -setns 1:disk p", `vspawn: invalid value "1:disk" for flag -setns: "disk" is not a namespace`},
		{"run -setns 0:net p", `vspawn: invalid value "0:net" for flag -setns: 0 is not a pid`},
		{"run -setns 1 /p", "vspawn: -setns: Flags have to say which namespaces of pid 1"},
		{"run -unshare disk p", `vspawn: invalid value "disk" for flag -unshare: "disk" is not a namespace`},
		{"run -private-mounts /p", "vspawn: -private-mounts: needs CLONE_NEWNS in Cloneflags: it would be the parent's mounts that change"},
		{"run -mount proc:/proc p", `vspawn: invalid value "proc:/proc" for flag -mount: want SOURCE:TARGET:TYPE[:OPTIONS]`},
		{"run -new mount -mount proc::proc /p", "vspawn: -mount: no Target"},
		{"run -pivot-root /x /p", "vspawn: -pivot-root: needs CLONE_NEWNS in Cloneflags: it would be the parent's mounts that change"},
		{"run -hostname x /p", "vspawn: -hostname: needs CLONE_NEWUTS in Cloneflags: it would be the whole machine's"},
		{"run -stopped=x p", `vspawn: invalid boolean value "x" for -stopped: neither true nor false`},
	} {
		for _, command := range []string{"run", "plan"} {
			args := strings.Fields(c.args)
			if len(args) > 0 && args[0] == "run" {
				args[0] = command
			}
			var stdout, stderr bytes.Buffer
			status := run(&stdout, &stderr, args)
			if status != 2 || stderr.String() != c.stderr+"\n" || stdout.Len() > 0 {
				t.Errorf("%q: status %d, stderr %q, stdout %q, want 2 and %q", args, status, &stderr, &stdout, c.stderr)
			}
		}
	}
	var stdout, stderr bytes.Buffer
	if status := run(&stdout, &stderr, []string{"run", ""}); status != 2 || stderr.String() != "vspawn: the program's name is empty\n" {
		t.Errorf("empty name: status %d, stderr %q", status, &stderr)
	}
}

// What plan prints is the same on every machine, but for our own pid.
func TestPlan(t *testing.T) {
	lowerNofile(t)
	for _, c := range []struct{ name, args string }{
		{"plain", "/bin/true"},
		{"argv", "-argv0 -sh -dir /tmp -umask 027 /bin/sh -c exit"},
		{"files", "-fd 0=1 -fd 1=0 -fd 2=- -fd 5=2 /bin/true"},
		{"terminal", "-setsid -ctty -foreground /bin/getty"},
		{"group", "-pgid 0 -foreground -tty 1 /bin/true"},
		{"credentials", "-uid 1000 -gid 1000 -groups 4,24 -chroot /srv -pdeathsig term /bin/true"},
		{"nogroups", "-groups= /bin/true"},
		{"keepgroups", "-uid 0 -keep-groups /bin/true"},
		{"limits", "-rlimit stack=16M:unlimited -rlimit NOFILE=1024 -rlimit core=0 /bin/true"},
		{"signals", "-mask INT,SIGTERM -mask 34 -default pipe,hup -ignore QUIT /bin/true"},
		{"emptymask", "-mask= /bin/true"},
		{"namespaces", "-new user,pid,mount -uid-map 0:1000:1 -gid-map 0:1000:1 -pdeathsig KILL /bin/true"},
		{"byfd", "-dir-fd 0 -exec-fd 1 name arg"},
		{"open", "-open 0=/dev/null -open 1:write,creat,trunc:0640=a=b:c -open 5:read,write,append=log /bin/true"},
		{"inherit", "-inherit -close 5 -close 7-9 -close 20- /bin/true"},
		{"close", "-inherit -close 0 -close 2- /bin/true"},
		{"sched", "-sched fifo:10 -nice -5 -ionice realtime:0 -cpus 0-1,3 -timer-slack 50us /bin/true"},
		{"deadline", "-reset-on-fork -sched deadline:1ms:10ms:20ms -ionice idle /bin/true"},
		{"misc", "-core-sched -oom-score-adj -500 -personality addr-no-randomize,linux32 -new-keyring -stopped /bin/true"},
		{"caps", "-uid 1000 -keep-caps -caps net_raw,CAP_CHOWN/chown/all,-sys_admin,-net_raw -ambient chown -securebits noroot,noroot_locked /bin/true"},
		{"landlock", "-no-new-privs -landlock-access fs:all -landlock-access net:connect-tcp -landlock-access scope:all " +
			"-landlock-rule path:execute,read-file:/usr -landlock-rule port:connect-tcp:443 /bin/true"},
		{"setns", "-setns 1:net,uts -unshare mount,ipc -hostname box /bin/true"},
		{"mounts", "-new mount,uts -hostname box -mount /usr:/mnt/usr::rbind,ro -mount tmpfs:/mnt/tmp:tmpfs:nosuid,size=1m,mode=755 -pivot-root /mnt /bin/true"},
		{"privatemounts", "-new mount -private-mounts /bin/true"},
		{"allnamespaces", "-new cgroup,ipc,mount,net,pid,time,user,uts /bin/true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"plan", "-clear-env", "-env", "A=1"}, strings.Fields(c.args)...)
			if status := run(&stdout, &stderr, args); status != 0 || stderr.Len() > 0 {
				t.Fatalf("status %d, stderr %q", status, &stderr)
			}
			got := "$ vspawn plan " + c.args + "\n" +
				strings.ReplaceAll(stdout.String(), "getppid() = "+strconv.Itoa(os.Getpid()), "getppid() = PID")
			golden(t, filepath.Join("testdata", c.name+".golden"), got)
		})
	}
}

// What depends on the machine is not in the golden files.
func TestPlanHere(t *testing.T) {
	filter := filepath.Join(t.TempDir(), "filter")
	if err := os.WriteFile(filter, []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"-bounding all,-sys_admin", "\nprctl(PR_CAPBSET_DROP, 21, 0, 0, 0)\n"},
		{"-bounding=", "\nprctl(PR_CAPBSET_DROP, 0, 0, 0, 0)\n"},
		{"-new user -ambient net_raw", "\nprctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 13, 0, 0)\n"},
		{"-setns /proc/self/ns/net", ", 0)\n"},
		{"-no-new-privs -seccomp " + filter, "\nseccomp(SECCOMP_SET_MODE_FILTER, 0, {len=1})\n"},
	} {
		var stdout, stderr bytes.Buffer
		args := slices.Concat([]string{"plan"}, strings.Fields(c.args), []string{"/bin/true"})
		status := run(&stdout, &stderr, args)
		if status != 0 || stderr.Len() > 0 || !strings.Contains(stdout.String(), c.want) {
			t.Errorf("%s: status %d, stderr %q, stdout %s", c.args, status, &stderr, &stdout)
		}
	}
}

// All is what has names.
func TestAll(t *testing.T) {
	for _, names := range []map[string]uint64{fsRights, netRights, scopes} {
		var all uint64
		for name, right := range names {
			if name != "all" {
				all |= right
			}
		}
		if all != names["all"] {
			t.Errorf("all is %#x, the others are %#x: %v", names["all"], all, names)
		}
	}
	if len(capabilities) != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d capabilities have names, of %d", len(capabilities), unix.CAP_LAST_CAP+1)
	}
}

func TestCgroup(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := run(&stdout, &stderr, []string{"plan", "-cgroup", "/", "/bin/true"})
	if status != 0 || !strings.Contains(stdout.String(), "|CLONE_INTO_CGROUP, ") {
		t.Errorf("status %d, stderr %q, stdout %q", status, &stderr, &stdout)
	}
}

// lowerNofile keeps the runtime's own raise of the limit out of the plans.
func lowerNofile(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: was.Max / 2, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: was.Cur, Max: was.Max}) })
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update writes it):\n got %s\nwant %s", file, got, want)
	}
}

// pipe gives an end that vspawn takes for one that it was given.
func pipe(t *testing.T) (r *os.File, w int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	r = os.NewFile(uintptr(fds[0]), "pipe")
	t.Cleanup(func() { r.Close() })
	return r, fds[1]
}

func TestChildSees(t *testing.T) {
	r, w := pipe(t)
	t.Setenv("A", "ours")
	t.Setenv("B", "ours")
	status, text := vspawnRun([]string{"-fd", fmt.Sprint("3=", w), "-argv0", "name", "-dir", "/proc", "-env", "A=1", "-env", "A=2", "-clear-env"}, "print")
	unix.Close(w)
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if status != 0 || text != "" || string(got) != "name /proc 2  2\n" {
		t.Errorf("status %d, %q, the child says %q", status, text, got)
	}
}

// A descriptor of our own runtime's is not to be had.
func TestOwnDescriptor(t *testing.T) {
	f, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	status, text := vspawnRun([]string{"-fd", fmt.Sprint("3=", f.Fd())}, "exit", "0")
	if status != 2 || !strings.Contains(text, "is not open") {
		t.Errorf("status %d, %q", status, text)
	}
}

// Signals are passed on; those of the keyboard only to another process group,
// since in our own the terminal has sent them already.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		flags []string
		send  []syscall.Signal
		get   syscall.Signal // the first that arrives
	}{
		{nil, []syscall.Signal{unix.SIGTERM}, unix.SIGTERM},
		{nil, []syscall.Signal{unix.SIGHUP}, unix.SIGHUP},
		{nil, []syscall.Signal{unix.SIGUSR2}, unix.SIGUSR2},
		{nil, []syscall.Signal{unix.SIGINT, unix.SIGUSR1}, unix.SIGUSR1},
		{[]string{"-setsid"}, []syscall.Signal{unix.SIGINT}, unix.SIGINT},
		{[]string{"-pgid", "0"}, []syscall.Signal{unix.SIGQUIT}, unix.SIGQUIT},
	} {
		r, w := pipe(t)
		// Two signals may arrive in either order, and the later of them when all is over:
		// the next vspawn would take it for its own. Nor is one ignored here, as SIGINT is
		// in the background of a script.
		sent := make(chan os.Signal, len(c.send))
		for _, s := range c.send {
			signal.Notify(sent, s)
		}
		go func() {
			r.Read(make([]byte, 1))
			whenStarted()
			for _, s := range c.send {
				unix.Kill(os.Getpid(), s)
			}
		}()
		status, text := vspawnRun(append(c.flags, "-fd", fmt.Sprint("3=", w)), "await", strconv.Itoa(int(c.get)))
		unix.Close(w)
		for range c.send {
			<-sent
		}
		signal.Stop(sent)
		if status != 40+int(c.get) || text != "" {
			t.Errorf("%v, sent %v: status %d, %q, want %d", c.flags, c.send, status, text, 40+c.get)
		}
	}
}

// whenStarted waits until no start is under way in this process. A signal would end one,
// though the child runs its program already: where that has a session of its own the
// kernel may give it a processor sooner than us.
func whenStarted() {
	stacks := make([]byte, 1<<20)
	for bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("vspawn.(*Plan).Start(")) {
		time.Sleep(time.Millisecond)
	}
}

// A signal that we were told to ignore, as by nohup, the child ignores too.
func TestIgnoredSignal(t *testing.T) {
	signal.Ignore(unix.SIGHUP)
	// Neither Reset nor Stop would end it: children would go on to ignore the signal.
	defer signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	if status, text := vspawnRun(nil, "ignores"); status != 0 || text != "" {
		t.Errorf("status %d, %q", status, text)
	}
	if status, text := vspawnRun([]string{"-default", "HUP"}, "ignores"); status != 1 || text != "" {
		t.Errorf("with -default: status %d, %q", status, text)
	}
}

// pty opens a new terminal. What is written to ptmx it takes for its keyboard.
func pty(t *testing.T) (ptmx, tty *os.File) {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ptmx.Close() })
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return ptmx, tty
}

// A child that got the terminal doesn't keep it.
func TestForeground(t *testing.T) {
	_, tty := pty(t)
	cmd := exec.Command("/proc/self/exe", "terminal")
	cmd.Env = append(os.Environ(), asChild+"=1")
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A start that hangs is given up on a signal, and the status says which. Here
// the child sends it, and then waits for ever. It may be killed before it does.
func TestInterruptedStart(t *testing.T) {
	plan, err := vspawn.Compile("/proc/self/exe", nil, &vspawn.Attr{Syscalls: []vspawn.Syscall{
		{Name: "kill", Nr: unix.SYS_KILL, Args: [6]uintptr{uintptr(os.Getpid()), uintptr(unix.SIGTERM)}},
		{Name: "ppoll", Nr: unix.SYS_PPOLL},
	}})
	if err != nil {
		t.Fatal(err)
	}
	status, err := start(plan, &request{})
	if status != 128+15 || err == nil || !strings.Contains(err.Error(), "(Attr.Syscalls[") {
		t.Errorf("status %d, %v", status, err)
	}
}

// Every field of Attr has a flag.
func TestEveryAttribute(t *testing.T) {
	without := map[string]string{
		"Syscalls": "its arguments are pointers",
		"Ptrace":   "the tracer would be us, and we don't trace",
	}
	attr := reflect.TypeFor[vspawn.Attr]()
	for i := range attr.NumField() {
		name := attr.Field(i).Name
		found := slices.ContainsFunc(options, func(o option) bool { return o.field == name })
		if found == (without[name] != "") {
			t.Errorf("Attr.%s: has a flag: %v", name, found)
		}
	}
	for _, o := range options {
		if _, ok := attr.FieldByName(o.field); !ok && o.field != "argv" {
			t.Errorf("-%s is for Attr.%s, which is not there", o.name, o.field)
		}
	}
}

// The comment above the package is what help prints.
func TestDoc(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(&stdout, &stderr, []string{"run", "-h"}); status != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d, stderr %q", status, &stderr)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	doc := f.Doc.Text()
	for line := range strings.Lines(stdout.String()) {
		if !strings.Contains(doc, strings.TrimLeft(line, " ")) {
			t.Errorf("not in the doc comment: %s", line)
		}
	}
}

func TestFeatures(t *testing.T) {
	f, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run(&stdout, &stderr, []string{"features"}); status != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d, stderr %q", status, &stderr)
	}
	want := map[bool]string{true: "yes", false: "no"}[f.Clone3]
	if got := strings.Fields(stdout.String()); len(got) != 2*reflect.TypeOf(f).NumField() || got[0] != "Clone3" || got[1] != want {
		t.Errorf("got %q", got)
	}
}
