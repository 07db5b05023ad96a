// Small is an init that has a shell start a command, again and again, and says
// how often that went well, and what memory is free at first and in the end.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("small:", err)
	}
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for dir, fs := range map[string]string{"/proc": "proc", "/dev": "devtmpfs"} {
		if err := syscall.Mount(fs, dir, fs, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	// From the kernel's command line.
	rounds, err := strconv.Atoi(os.Getenv("rounds"))
	if err != nil {
		return err
	}
	pause, err := time.ParseDuration(os.Getenv("pause"))
	if err != nil {
		return err
	}
	var before string
	for i := range rounds {
		time.Sleep(pause)
		out, err := exec.Command("/bin/gosh", "-c", "/bin/ls /bin; echo from gosh").CombinedOutput()
		if err != nil || string(out) != "gosh\nls\nfrom gosh\n" {
			return fmt.Errorf("round %d: %v: %s", i, err, out)
		}
		if i == 0 {
			before = memFree()
		}
	}
	fmt.Printf("small: %d rounds, MemFree after the first %s, after the last %s\n", rounds, before, memFree())
	return nil
}

func memFree() string {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err.Error()
	}
	return string(regexp.MustCompile(`MemFree: *(.*)`).FindSubmatch(b)[1])
}
