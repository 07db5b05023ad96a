//go:build linux

// Package uroot shows that u-root's commands and its shell, unchanged, do their
// work on every kind of machine that images are built for. It needs such an
// image, and so runs in guests alone.
package uroot

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn/exec"
)

func TestMain(m *testing.M) { helper.Main(m) }

// What a person does in a shell works: its own words, and u-root's commands alone
// and together. A shell takes long to start in an emulated machine, so each of
// them does much.
func TestShell(t *testing.T) {
	for _, c := range []struct {
		name, script string
		stdout       string
		status       int
	}{
		{"own words", `
			echo hello
			n=0; until [ $n = 3 ]; do n=$((n+1)); done; echo $n
			case Linux in Lin*) echo yes;; *) echo no;; esac
			f() { echo "$1"; return 4; }; f x; echo $?
			(cd /; pwd; exit 2); echo $?
			true && echo yes || echo no; false && echo yes || echo no
			exit 7`, "hello\n3\nyes\nx\n4\n/\n2\nyes\nno\n", 7},
		{"pipes", `
			echo hello | cat
			seq 20 | grep 1 | sort -n | tail -n 3 | wc -l
			cat /no/such/file 2>&1 | grep -c such
			x=$(seq 3 | tail -n 1); echo $x`, "hello\n3\n1\n3\n", 0},
		{"loops", `
			for i in 1 2 3; do echo $i | cat; done
			seq 2 | while read x; do echo "<$x>"; done`, "1\n2\n3\n<1>\n<2>\n", 0},
		{"redirections", `
			seq 2 >f; echo 3 >>f; cat <f
			cat /no/such/file 2>f; grep -c such f
			cat <<END
$((6*7))
END`, "1\n2\n3\n1\n42\n", 0},
		{"statuses", `
			false; echo $?; true; echo $?
			true | false; echo $?; false | true; echo $?
			gosh -c 'exit 3'; echo $?
			nobody-has-this; echo $?
			A=b printenv A
			false`, "1\n0\n1\n0\n3\n127\nb\n", 1},
		{"jobs", `
			for i in 1 2 3; do (sleep 0.1; echo x >>f) & done; wait; wc -l <f
			(gosh -c 'exit 5'; echo $? >s) & wait; cat s
			timeout -t 100ms sleep 100; echo ended`, "3\n5\nended\n", 0},
		// A job has the variables of the moment. Package mvdan.cc/sh/v3 before v3.12.0,
		// whose interpreter gosh is, has it read the shell's own while that sets them,
		// and dies of it now and then.
		{"variables of jobs", `
			n=0; while [ $n -lt 300 ]; do n=$((n+1)); (y=$n; : $HOME $y) & done; wait; echo $n
			for i in 1 2 3; do (sleep 0.1; echo $i >$i) & done; wait; cat 1 2 3`, "300\n1\n2\n3\n", 0},
		{"files", `
			mkdir -p a/b; echo text >a/b/c; cp a/b/c d; mv d e; ln -s e f; cat f
			find a -name c; rm -r a; ls
			gzip e; gzip -d e.gz; cat e
			mkdir m; mount -t tmpfs none m && echo x >m/y && umount m; ls m`, "text\na/b/c\ne\nf\ntext\n", 0},
		{"commands", `
			uname -s; id -u; head -c 8 /dev/zero | wc -c
			echo a b | xargs echo c; pidof nobody-has-this; echo $?
			ps -e | grep -c uroot.test`, "Linux\n0\n8\nc a b\n1\n1\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, status := shell(t, c.script)
			if stdout != c.stdout || status != c.status {
				t.Errorf("%s\nprints %q, status %d; want %q, %d\n%s", c.script, stdout, status, c.stdout, c.status, stderr)
			}
		})
	}
}

// shell runs a script in a directory of its own.
func shell(t *testing.T, script string) (stdout, stderr string, status int) {
	t.Helper()
	if _, err := os.Stat("/bbin/bb"); err != nil {
		t.Skip("this is no image with u-root's commands")
	}
	var out, errs bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=/bbin:/bin", "HOME=/", "TMPDIR=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if !cmd.ProcessState.Exited() {
		t.Errorf("the shell ended by %v", cmd.ProcessState)
	}
	return out.String(), strings.TrimSpace(errs.String()), cmd.ProcessState.ExitCode()
}
