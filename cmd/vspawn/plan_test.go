//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/golden"
)

// plans are command lines that are well.
var plans = []struct{ name, args string }{
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
	{"misc", "-die-with-parent -core-sched -oom-score-adj -500 -personality addr-no-randomize,linux32 -new-keyring -stopped /bin/true"},
	{"caps", "-uid 1000 -keep-caps -caps net_raw,CAP_CHOWN/chown/all,-sys_admin,-net_raw -ambient chown -securebits noroot,noroot_locked /bin/true"},
	{"landlock", "-no-new-privs -landlock-access fs:all -landlock-access net:connect-tcp -landlock-access scope:all " +
		"-landlock-rule path:execute,read-file:/usr -landlock-rule port:connect-tcp:443 /bin/true"},
	{"setns", "-setns 1:net,uts -unshare mount,ipc -hostname box /bin/true"},
	{"mounts", "-new mount,uts -hostname box -mount /usr:/mnt/usr::rbind,ro -mount tmpfs:/mnt/tmp:tmpfs:nosuid,size=1m,mode=755 -pivot-root /mnt /bin/true"},
	{"privatemounts", "-new mount -private-mounts /bin/true"},
	{"allnamespaces", "-new cgroup,ipc,mount,net,pid,time,user,uts /bin/true"},
}

// What plan prints is the same on every machine, but for our own pid.
func TestPlan(t *testing.T) {
	lowerNofile(t)
	for _, c := range plans {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"plan", "-clear-env", "-env", "A=1"}, strings.Fields(c.args)...)
			if status := run(&stdout, &stderr, args); status != 0 || stderr.Len() > 0 {
				t.Fatalf("status %d, stderr %q", status, &stderr)
			}
			got := "$ vspawn plan " + c.args + "\n" +
				strings.ReplaceAll(stdout.String(), "getppid() = "+strconv.Itoa(os.Getpid()), "getppid() = PID")
			golden.Check(t, filepath.Join("testdata", c.name+".golden"), got)
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
