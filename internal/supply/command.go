package supply

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// command makes a command whose process group ends with ctx, by the signal that
// is given, or with this process: apt and make leave the work to children.
func command(ctx context.Context, end syscall.Signal, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, end) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// sleep waits for d, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
