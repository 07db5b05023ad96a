package qemu

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// Shell is the command line that boots a target of c to a shell in this terminal:
// that of image, or with "" the agent's, beside the tests that c has, each of which
// runs there as it does in a run. It builds the image, and on c.Out tells how gdb
// comes to it if c wants that.
func Shell(ctx context.Context, c Config, t Target, k supply.Kernel, image string) ([]string, error) {
	b := Boot{Kernel: k.Path, Initramfs: image, Args: c.Args}
	if c.Append != "" {
		b.Append = append(b.Append, c.Append)
	}
	var suites []suite
	if image == "" {
		var err error
		if b.Initramfs, suites, err = c.shellImage(ctx, t); err != nil {
			return nil, err
		}
		b.Init = agentInit
		b.Append = append(b.Append, wire.ShellEnv+"=1")
	}
	if c.GDB {
		var err error
		if b.GDB, err = GDBSocket(c.Build, t); err != nil {
			return nil, err
		}
		fmt.Fprint(c.Out, c.gdbText(t, b.GDB, suites))
	}
	return t.Command(b), nil
}

// shellImage builds the image with c's tests.
func (c *Config) shellImage(ctx context.Context, t Target) (string, []suite, error) {
	if _, err := wire.NewSelector(c.Run, 0, 1); err != nil {
		return "", nil, usage.Errorf("RUN=%s: %w", c.Run, err)
	}
	unlock, err := host.LockDir(ctx, c.Build, func() {
		fmt.Fprintf(c.Out, "waiting for another run in %s to end\n", c.Build)
	})
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	out := filepath.Join(c.Build, t.Name, "shell.cpio.gz")
	load, err := c.image(ctx, t, out, func(s string) { fmt.Fprintf(c.Out, "%s: %s\n", t.Name, s) })
	return out, load.suites, err
}
