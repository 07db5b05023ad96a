//go:build !plan9

package vspawn_test

import (
	"context"
	"fmt"
	"log"

	"github.com/vspawn/vspawn/vspawn"
)

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
	fmt.Println(state, err)
}
