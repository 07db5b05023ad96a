// Package misbehave holds tests that do to a guest what the rig must notice.
// They run in guests alone.
package misbehave

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("MISBEHAVE_SLEEP") != "" {
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

func TestPass(t *testing.T) {
	if b, err := os.ReadFile("testdata/hello"); err != nil || string(b) != "hello\n" {
		t.Errorf("testdata/hello: %q, %v", b, err)
	}
}

func TestFail(t *testing.T) {
	t.Run("sub", func(t *testing.T) { t.Error("as asked") })
}

func TestSkip(t *testing.T) { t.Skip("no reason to run") }

func TestHang(t *testing.T) { time.Sleep(time.Hour) }

// TestPanic gives the news of its start time to get out: a panic takes what is
// on its way.
func TestPanic(t *testing.T) {
	time.Sleep(5 * time.Second)
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour)
}

// TestLoseInit ends PID 1: a Go program that gets SIGTERM exits.
func TestLoseInit(t *testing.T) {
	time.Sleep(5 * time.Second)
	if err := syscall.Kill(1, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour)
}

// TestLeak leaves a child behind that holds this test's output.
func TestLeak(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MISBEHAVE_SLEEP=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// TestExit ends the binary with status 0 before its tests have run.
func TestExit(t *testing.T) { syscall.Exit(0) }
