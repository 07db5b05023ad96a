package usage_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/gobuild"
	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/nommu"
	"github.com/vspawn/vspawn/qemu"
)

func TestStatus(t *testing.T) {
	mistake := usage.Errorf("file %q: %w", "x", fs.ErrNotExist)
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{fs.ErrNotExist, usage.StatusFailed},
		{mistake, usage.StatusUsage},
		{fmt.Errorf("image: %w", mistake), usage.StatusUsage},
		{fmt.Errorf("%w; %w", fs.ErrClosed, mistake), usage.StatusUsage},
		{errors.Join(fs.ErrClosed, mistake), usage.StatusUsage},
	} {
		if got := usage.Status(c.err); got != c.want || usage.Is(c.err) != (c.want == usage.StatusUsage) {
			t.Errorf("%v: status %d, want %d", c.err, got, c.want)
		}
	}
	if !errors.Is(mistake, fs.ErrNotExist) || mistake.Error() != `file "x": file does not exist` {
		t.Errorf("%v has lost its cause", mistake)
	}
}

// A mistake is of the one kind whichever package has found it.
func TestOneKind(t *testing.T) {
	ctx := t.Context()
	found := map[string]error{
		"internal/host": host.CheckTools([]host.Tool{{Program: "no-such-program", Package: "none"}}),
		"nommu":         nommu.Build(ctx, nommu.Options{Args: []string{"-race"}}),
	}
	_, found["nommu.Inspect"] = nommu.Inspect("/nope")
	_, found["initramfs"] = initramfs.Build(ctx, initramfs.Spec{})
	_, found["compiling"] = new(gobuild.Toolchain).Programs(ctx)
	_, found["qemu"] = qemu.Select("vax")
	for from, err := range found {
		if !usage.Is(err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", from, err)
		}
	}
}
