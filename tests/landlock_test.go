//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// needLandlock skips a test where Landlock, or a version of it, isn't there.
func needLandlock(t *testing.T, abi int) {
	t.Helper()
	helper.SkipEmulated(t, "Landlock")
	v, err := landlockVersion()
	if err != nil {
		t.Skip("no Landlock (Linux 5.13): ", err)
	}
	if v < abi {
		t.Skipf("this kernel's Landlock is version %d, older than %d (4 is Linux 6.7, 6 is 6.12)", v, abi)
	}
}

func landlockVersion() (int, error) {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(v), nil
}

// Where there is no Landlock, the start fails, and says so.
func TestNoLandlock(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	_, err := vspawn.Start(t.Context(), "/x", nil, &vspawn.Attr{
		NoNewPrivs: true, Landlock: &vspawn.Landlock{FS: 1},
		Syscalls: denyInChild(t, unix.SYS_LANDLOCK_CREATE_RULESET, unix.EOPNOTSUPP),
	})
	checkError(t, err, vspawn.Error{Step: "landlock_create_ruleset", Field: "Landlock", Err: unix.EOPNOTSUPP})
	var e *vspawn.Error
	if errors.As(err, &e) && e.Hint == "" {
		t.Errorf("no hint in %q", err)
	}
}

// The child can do what its rules allow, and nothing else of what is handled.
// What Files.Path has opened stays open.
func TestLandlock(t *testing.T) {
	dir := realTemp(t)
	for _, d := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d, "file"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	// Not the reading of files, without which no program could start.
	const list, write = unix.LANDLOCK_ACCESS_FS_READ_DIR, unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	type try struct {
		what, on string
		allowed  bool
	}
	for _, x := range []struct {
		name  string
		abi   int
		rules vspawn.Landlock
		tries []try
	}{
		{"paths", 1, vspawn.Landlock{FS: list | write, Paths: []vspawn.LandlockPath{{Path: in, Allow: list | write}, {Path: dir, Allow: list}}},
			[]try{{"list", in, true}, {"write", in, true}, {"list", out, true}, {"write", out, false}, {"list", "/", false},
				{"bind", "40001", true}, {"signal", "", true}}},
		{"no path", 1, vspawn.Landlock{FS: list}, []try{{"list", in, false}, {"write", in, true}, {"list", "/proc/self/fd/0", false}, {"list what is open", "", true}}},
		{"ports", 4, vspawn.Landlock{Net: unix.LANDLOCK_ACCESS_NET_BIND_TCP, Ports: []vspawn.LandlockPort{{Port: 40001, Allow: unix.LANDLOCK_ACCESS_NET_BIND_TCP}}},
			[]try{{"bind", "40001", true}, {"bind", "40002", false}, {"list", out, true}}},
		{"scope", 6, vspawn.Landlock{Scope: unix.LANDLOCK_SCOPE_SIGNAL}, []try{{"signal", "", false}, {"list", out, true}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			needLandlock(t, x.abi)
			var args []string
			want := ""
			for _, try := range x.tries {
				args = append(args, try.what, try.on)
				want += fmt.Sprintf("%s %s: %s\n", try.what, try.on, map[bool]string{true: "allowed", false: "denied"}[try.allowed])
			}
			got := output(t, tryHelper.Argv(args...), &vspawn.Attr{NoNewPrivs: true, Landlock: &x.rules,
				Files: []vspawn.File{{Child: 0, Path: out}}}, "exit status 0")
			equal(t, "what the child may", got, want)
		})
	}
}

// tryHelper does one thing after the other, and prints of each whether it may.
var tryHelper = helper.New("try", func(args []string) int {
	for ; len(args) > 0; args = args[2:] {
		what, on := args[0], args[1]
		outcome := "allowed"
		if err := try(what, on); errors.Is(err, os.ErrPermission) { // EACCES or EPERM
			outcome = "denied"
		} else if err != nil {
			outcome = err.Error()
		}
		fmt.Printf("%s %s: %s\n", what, on, outcome)
	}
	return 0
})

func try(what, on string) error {
	switch what {
	case "list":
		_, err := os.ReadDir(on)
		return err
	case "list what is open":
		_, err := os.Stdin.ReadDir(0)
		return err
	case "write":
		f, err := os.OpenFile(filepath.Join(on, "file"), os.O_WRONLY, 0)
		f.Close()
		return err
	case "signal":
		return unix.Kill(unix.Getppid(), 0)
	case "bind":
		port, _ := strconv.Atoi(on)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: port})
			unix.Close(fd)
		}
		if err == unix.EADDRINUSE { // by another process, but allowed
			err = nil
		}
		return err
	}
	return errors.New("what is " + what + "?")
}
