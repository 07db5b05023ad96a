package vspawn

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A mapFile is a file below /proc/PID, and what the parent writes to it.
type mapFile struct {
	field, name, text string
}

// newMapFiles are the files for the id maps, in the order that
// user_namespaces(7) asks for: setgroups is denied before gid_map is written.
func newMapFiles(a *Attr) []mapFile {
	var files []mapFile
	if a.UIDMap != nil {
		files = append(files, mapFile{"UIDMap", "uid_map", mapText(a.UIDMap)})
	}
	if a.GIDMap != nil {
		if !a.AllowSetgroups {
			files = append(files, mapFile{"AllowSetgroups", "setgroups", "deny"})
		}
		files = append(files, mapFile{"GIDMap", "gid_map", mapText(a.GIDMap)})
	}
	return files
}

func mapText(list []IDMap) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "%d %d %d\n", m.Inside, m.Outside, m.Size)
	}
	return b.String()
}

// writeMaps writes the id maps of a child that waits for them.
func (a *answerer) writeMaps(in *instance) error {
	for _, f := range a.plan.maps {
		path := fmt.Sprintf("/proc/%d/%s", in.pid(), f.name)
		if err := a.write(in, path, f.text); err != nil {
			e := &Error{Step: "write", Field: f.field, Object: path, Err: err}
			switch err {
			case unix.EPERM:
				e.Hint = "without CAP_SETUID and CAP_SETGID a map is one line, for the caller's own id"
			case unix.EACCES:
				e.Hint = "the file is root's while this process is not dumpable (PR_SET_DUMPABLE), as it is not " +
					"beside children with other credentials: CAP_DAC_OVERRIDE or CAP_SETUID opens it"
			}
			return e
		}
	}
	if a.plan.writesOwnProc {
		dumpable.lend(&a.hold)
	}
	dumpable.change(&a.hold)
	return nil
}

// write writes a map. The file is root's while a child of another start may
// be another's; one who is not root waits for its turn, as long as the flag comes
// back now and then.
func (a *answerer) write(in *instance, path, text string) error {
	others, err := a.writeOnce(in, path, text)
	if err != unix.EACCES || !others || rootFilesAreOurs() {
		return err
	}
	dumpable.wanted.Add(1)
	defer dumpable.wanted.Add(-1)
	turns, _ := dumpable.turn()
	for begin := time.Now(); err == unix.EACCES && others && !a.over.Load() && time.Since(begin) < turnTime; {
		time.Sleep(time.Millisecond)
		if n, _ := dumpable.turn(); n != turns {
			turns, begin = n, time.Now()
		}
		others, err = a.writeOnce(in, path, text)
	}
	return err
}

// turnTime is how long a start waits for the dumpable flag if it never comes
// back: some child then hangs on its way to its exec.
const turnTime = 10 * time.Second

// writeOnce writes text by one system call, as a map file demands. others tells
// whether another start may be why it can't. A file that is open before the child has
// died is the child's, and not another's with its number.
func (a *answerer) writeOnce(in *instance, path, text string) (others bool, err error) {
	var f *os.File
	others, err = dumpable.own(&a.hold, func() (err error) {
		f, err = os.OpenFile(path, os.O_WRONLY, 0)
		return err
	})
	if err != nil {
		return others, errors.Unwrap(err)
	}
	defer f.Close()
	if pidfd := int(in.prog.Pidfd); pidfd >= 0 && pollPidfd(pidfd, unix.POLLIN, 0) != 0 {
		return false, unix.ESRCH
	}
	if _, err = f.WriteString(text); err != nil {
		return false, errors.Unwrap(err)
	}
	return false, nil
}
