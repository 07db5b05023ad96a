//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

// badUsage is by command line, and what is said of it.
var badUsage = []struct{ args, stderr string }{
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
}

// Bad usage is one line that names the flag, and status 2.
func TestUsageErrors(t *testing.T) {
	for _, c := range badUsage {
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
