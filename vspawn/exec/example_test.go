//go:build linux

package exec_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// As with os/exec.
func ExampleCommand() {
	cmd := exec.Command("tr", "a-z", "A-Z")
	cmd.Stdin = strings.NewReader("some input\n")
	out, err := cmd.Output()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", out)
}

// What os/exec can't give to a command; and a failed start says what it was.
func ExampleCmd_Attr() {
	cmd := exec.Command("/bin/sh", "-c", "umask; nice")
	cmd.Stdout = os.Stdout
	cmd.Attr = &vspawn.Attr{
		Umask: vspawn.Ptr(0o077),
		Nice:  vspawn.Ptr(10),
	}
	if err := cmd.Run(); err != nil {
		log.Fatal(err)
	}

	cmd = exec.Command("/bin/sh")
	cmd.Attr = &vspawn.Attr{Chroot: "/not/here"}
	err := cmd.Run()
	fmt.Println(err)
	var failed *vspawn.Error
	fmt.Println(errors.As(err, &failed) && failed.Field == "Chroot")
}

// When its time is over, or it is cancelled, a command is killed with all that it has
// started.
func ExampleCommandContext() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "echo begun; sleep 1000 & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for output that one which has left the group still holds
	out, err := cmd.StdoutPipe()
	if err != nil {
		log.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	fmt.Printf("%q, %v\n", line, err)
	cancel() // which the hour's end would do as well
	fmt.Println(cmd.Wait())
}
