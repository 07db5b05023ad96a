//go:build !plan9

package vspawn_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"

	"github.com/vspawn/vspawn/vspawn"
)

// The error is of the start alone; how the program ended is in its state.
func Example() {
	ctx := context.Background()
	p, err := vspawn.Start(ctx, "/bin/ls", []string{"ls", "-l"}, &vspawn.Attr{
		Dir:    "/proc/self",
		Setsid: true,
		Umask:  vspawn.Ptr(0o077),
	})
	if err != nil {
		log.Fatal(err) // such as "vspawn: chdir /proc/self (Attr.Dir): no such file or directory"
	}
	state, err := p.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if !state.Success() {
		log.Print("ls: ", state)
	}
}

// An Error names the system call of the child that failed, and unwraps to its errno.
func ExampleError() {
	_, err := vspawn.Start(context.Background(), "/not/here", nil, nil)
	fmt.Println(err)
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	var failed *vspawn.Error
	if errors.As(err, &failed) {
		fmt.Println("step", failed.Step)
	}
	// Output:
	// vspawn: execve /not/here: no such file or directory
	// true
	// step execve
}

// Input that makes no sense is refused before anything is started.
func ExampleAttrError() {
	_, err := vspawn.Compile("/bin/true", nil, &vspawn.Attr{Nice: vspawn.Ptr(20)})
	var refused *vspawn.AttrError
	fmt.Println(errors.As(err, &refused), refused.Field)
	// Output: true Nice
}

// Every descriptor is passed on as under os/exec, but for a range that has no end.
func ExampleRange() {
	attr := &vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: 100, NoEnd: true}}}
	_, err := vspawn.Compile("/bin/true", nil, attr)
	fmt.Println(err)
	// Output: <nil>
}
