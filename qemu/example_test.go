package qemu_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/vspawn/vspawn/qemu"
)

// The command line that boots an image by hand.
func ExampleTarget_Command() {
	targets, err := qemu.Select("arm64")
	if err != nil {
		log.Fatal(err)
	}
	line := targets[0].Command(qemu.Boot{
		Kernel:    "vmlinuz",
		Initramfs: "build/initramfs.cpio.gz",
		Append:    []string{"quiet"},
	})
	fmt.Println(strings.Join(line, " "))
}
