// linked uses all of package exec, and prints its command, as programs do.
package main

import (
	"context"
	"fmt"

	"github.com/vspawn/vspawn/vspawn/exec"
)

func main() {
	c := exec.CommandContext(context.Background(), "true")
	fmt.Println(c, c.Environ(), c.Run())
	c = exec.Command("true")
	c.StdinPipe()
	c.StdoutPipe()
	c.StderrPipe()
	fmt.Println(c.Start(), c.Wait(), *c)
	fmt.Println(exec.Command("true").Output())
	fmt.Println(exec.Command("true").CombinedOutput())
}
