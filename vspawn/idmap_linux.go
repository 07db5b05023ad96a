package vspawn

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
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

// A mapWriter writes the id maps of a child that waits for them. The thread
// that made the child waits for it in turn, so this is a goroutine's work.
type mapWriter struct {
	plan *Plan
	sock *os.File // our end
	done chan error
	over atomic.Bool // the child waits no more
	hold hold        // of the dumpable flag
}

// newMapWriter opens the socket. Neither end blocks: ours is the poller's, and the
// child waits by ppoll.
func newMapWriter(p *Plan, l *links) (*mapWriter, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, &Error{Step: "socketpair", Field: p.maps[0].field, Err: err}
	}
	if err := p.asideBoth(&pair); err != nil {
		return nil, err
	}
	l.peer, l.sync = pair[0], pair[1]
	return &mapWriter{plan: p, sock: os.NewFile(uintptr(pair[0]), "id map socket"), done: make(chan error, 1)}, nil
}

// run waits for the child's word, writes the maps, and lets the child go on.
func (m *mapWriter) run(in *instance) {
	m.done <- func() error {
		var b [1]byte
		if n, _ := m.sock.Read(b[:]); n == 0 {
			return nil // there is no child, or it died: its error says more
		}
		for _, f := range m.plan.maps {
			path := fmt.Sprintf("/proc/%d/%s", in.pid(), f.name)
			if err := m.write(path, f.text); err != nil {
				m.hangUp()
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
		if m.plan.writesOwnProc {
			dumpable.lend(&m.hold)
		}
		dumpable.change(&m.hold)
		m.sock.Write(b[:]) // if the child is gone, its own error says more
		return nil
	}()
}

// write writes a map. The file is root's while a child of another start may
// be another's; one who is not root waits for its turn, as long as the flag comes
// back now and then.
func (m *mapWriter) write(path, text string) error {
	others, err := m.writeOnce(path, text)
	if err != unix.EACCES || !others || rootFilesAreOurs() {
		return err
	}
	dumpable.wanted.Add(1)
	defer dumpable.wanted.Add(-1)
	turns, _ := dumpable.turn()
	for begin := time.Now(); err == unix.EACCES && others && !m.over.Load() && time.Since(begin) < turnTime; {
		time.Sleep(time.Millisecond)
		if n, _ := dumpable.turn(); n != turns {
			turns, begin = n, time.Now()
		}
		others, err = m.writeOnce(path, text)
	}
	return err
}

// turnTime is how long a start waits for the dumpable flag if it never comes
// back: some child then hangs on its way to its exec.
const turnTime = 10 * time.Second

// writeOnce writes text by one system call, as a map file demands. others tells
// whether another start may be why it can't.
func (m *mapWriter) writeOnce(path, text string) (others bool, err error) {
	var f *os.File
	others, err = dumpable.own(&m.hold, func() (err error) {
		f, err = os.OpenFile(path, os.O_WRONLY, 0)
		return err
	})
	if err != nil {
		return others, errors.Unwrap(err)
	}
	defer f.Close()
	if _, err = f.WriteString(text); err != nil {
		return false, errors.Unwrap(err)
	}
	return false, nil
}

// finish ends run, also if no child ever answered.
func (m *mapWriter) finish() error {
	m.over.Store(true)
	m.hangUp()
	err := <-m.done
	m.sock.Close()
	return err
}

// hangUp wakes whoever reads at either end. To close our end would not do: the
// child has a copy of it.
func (m *mapWriter) hangUp() {
	if c, err := m.sock.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}
