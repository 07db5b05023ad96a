package vspawn

import "golang.org/x/sys/unix"

// SetDumpable sets the dumpable flag of this process's memory to 0 or 1, as
// prctl(2) with PR_SET_DUMPABLE does. A program that starts children with other
// credentials, or runs before Linux 5.16, should use it in the place of prctl:
// while such a child is under way the flag is off, and what prctl sets then is
// undone, or lets another user at this process's memory. SetDumpable waits for
// nobody: the flag is set when the last such child has its own memory, and in a
// process with capabilities no child of os/exec's is on its way either.
func SetDumpable(flag int) error {
	if flag != 0 && flag != 1 { // which only the kernel sets
		return &Error{Step: "prctl", Object: "PR_SET_DUMPABLE " + itoa(flag), Err: unix.EINVAL, Hint: "it must be 0 or 1"}
	}
	d := &dumpable
	beside, err := d.ask(flag)
	if beside {
		d.restoreAlone(lingering{}) // now, if that can be
	}
	return err
}

// ask is SetDumpable. beside is that the flag comes when os/exec's children let it.
func (d *dumpableFlag) ask(flag int) (beside bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off > 0 || d.pending {
		d.was, d.ids = flag, effectiveIDs()
		return false, nil
	}
	if flag == 1 && d.get() != 1 && privileged() {
		d.was, d.ids = flag, effectiveIDs()
		d.restoreBeside(soonBack)
		return true, nil
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(flag), 0, 0, 0); err != nil {
		return false, &Error{Step: "prctl", Object: "PR_SET_DUMPABLE", Err: err}
	}
	return false, nil
}
