package initramfs_test

import (
	"context"
	"fmt"
	"log"

	"github.com/vspawn/vspawn/initramfs"
)

// An image with u-root's shell and commands, and a file more.
func ExampleBuild() {
	image, err := initramfs.Build(context.Background(), initramfs.Spec{
		Toolchain: initramfs.Toolchain{
			GOARCH:   "arm64",
			CacheDir: "build/cache",
			Progress: func(step string) { log.Print(step) },
		},
		Files: []initramfs.File{{Path: "/etc/motd", Data: []byte("hello\n"), Mode: 0o644}},
		Out:   "build/initramfs.cpio.gz",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, %d bytes, SHA-256 %s\n", image.Path, image.Size, image.SHA256)
}

// The same image with another file, which costs next to nothing.
func ExampleExtend() {
	more := []initramfs.File{{Path: "/tests/asm.test", Host: "build/asm.test"}}
	if err := initramfs.Extend("build/initramfs.cpio.gz", more, "build/with-tests.cpio.gz"); err != nil {
		log.Fatal(err)
	}
}
