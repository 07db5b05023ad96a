package vspawn

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// asRoot runs f as one whose files root's are (setfsuid(2)), if this thread may.
// false is that f was not run. It is not where fs.suid_dumpable is 1, since then
// the kernel would turn the dumpable flag on. It takes a thread's parent-death
// signal off, too, and the main thread's is this process's own: so that is not used.
func asRoot(f func()) bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() == os.Getpid() {
		done := make(chan bool)
		go func() { done <- asRoot(f) }()
		return <-done
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if unix.Capget(&header, &caps[0]) != nil || caps[0].Effective&(1<<unix.CAP_SETUID) == 0 {
		return false
	}
	b, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	if err != nil || strings.TrimSpace(string(b)) == "1" {
		return false
	}
	death := deathSignal()
	was, _ := unix.SetfsuidRetUid(0)
	f()
	unix.SetfsuidRetUid(was)
	unix.Capset(&header, &caps[0]) // who goes back gives up what has to do with files
	if death != 0 {                // the change has cleared it, and this may be the process's first thread
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(death), 0, 0, 0)
	}
	return true
}
