package nommu_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/vspawn/vspawn/nommu"
)

// A program for a kernel without an MMU, and how much memory it takes there.
func ExampleBuild() {
	err := nommu.Build(context.Background(), nommu.Options{
		Args:   []string{"-o", "hello", "./cmd/hello"}, // as to go build
		Stack:  256 << 10,
		Stderr: os.Stderr,
	})
	if err != nil {
		log.Fatal(err)
	}
	info, err := nommu.Inspect("hello")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d KiB in one block, %d KiB free for it to start\n", info.Span>>10, info.Start()>>10)
}
