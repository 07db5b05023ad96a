package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/nommu"
)

// Without an MMU a PID 1, u-root's shell and its ls, a program each, run in 32 MiB,
// with a pause between two shells, and a thousand starts in a row find their memory
// in 64 MiB. See docs/nommu.md for the pause.
//
// VSPAWN_LOAD asks for the whole thousand, which take some minutes.
func TestSmallMachine(t *testing.T) {
	target, _ := lookup("riscv64-nommu")
	kernel := testKernel(t, target).Path
	programs := t.TempDir()
	// The shell that edits lines spans more than 4 MiB, and so takes a block of 8.
	err := nommu.Build(t.Context(), nommu.Options{Dir: "..", MaxOrder: target.MaxOrder, Args: []string{
		"-trimpath", "-tags", "goshsmall", "-o", programs + "/", "./qemu/testdata/small",
		"github.com/u-root/u-root/cmds/core/gosh", "github.com/u-root/u-root/cmds/core/ls",
	}})
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	_, err = initramfs.Build(t.Context(), initramfs.Spec{
		Toolchain: target.Toolchain("..", filepath.Join("..", "build", "cache")),
		Commands:  []string{},
		Files: []initramfs.File{
			{Path: "/init", Host: filepath.Join(programs, "small")},
			{Path: "/bin/gosh", Host: filepath.Join(programs, "gosh")},
			{Path: "/bin/ls", Host: filepath.Join(programs, "ls")},
		},
		Out: image,
	})
	if err != nil {
		t.Fatal(err)
	}
	rounds := 30
	if os.Getenv("VSPAWN_LOAD") != "" {
		rounds = 500 // of two starts each
	}
	for _, c := range []struct {
		megabytes int
		pause     time.Duration
	}{{32, 200 * time.Millisecond}, {64, 0}} {
		t.Run(fmt.Sprintf("%d MiB", c.megabytes), func(t *testing.T) {
			target.MemoryMB = c.megabytes
			argv := target.Command(Boot{Kernel: kernel, Initramfs: image,
				Append: []string{fmt.Sprintf("rounds=%d", rounds), fmt.Sprint("pause=", c.pause)}})
			out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
			said := regexp.MustCompile(fmt.Sprintf(`small: %d rounds, MemFree .*`, rounds)).Find(out)
			if err != nil || said == nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", said)
		})
	}
}
