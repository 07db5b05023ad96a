package vspawn

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ends tells when children end. It is one epoll instance for all pidfds,
// itself watched by the runtime's poller, so that any number of waits holds no
// thread, and costs each two system calls less than an os.File of its own.
var ends = new(poller)

type poller struct {
	mu      sync.Mutex
	file    *os.File // the epoll instance, once there is one
	fd      int
	next    uint64
	waiting map[uint64]chan struct{} // by token
}

// add has ended closed when the child behind pidfd ends, of which the events tell.
func (p *poller) add(pidfd int, events int16, ended chan struct{}) (token uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		if err := p.open(); err != nil {
			return 0, &Error{Step: "epoll_create1", Err: err}
		}
	}
	p.next++
	token = p.next
	// A token rather than the descriptor: the number is used again, while a
	// child that is about to exec may still hold a copy of the old one open.
	ev := unix.EpollEvent{Events: uint32(events) | unix.EPOLLONESHOT, Fd: int32(token), Pad: int32(token >> 32)}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, pidfd, &ev); err != nil {
		return 0, &Error{Step: "epoll_ctl", Object: "pidfd", Err: err}
	}
	p.waiting[token] = ended
	return token, nil
}

// remove forgets a wait. It gives false if the child has ended already.
func (p *poller) remove(token uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.waiting[token]
	delete(p.waiting, token)
	return ok
}

func (p *poller) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	unix.SetNonblock(fd, true) // or os.NewFile would not give it to the runtime's poller
	return p.start(os.NewFile(uintptr(fd), "epoll"), fd)
}

// start has the events of an epoll instance dispatched. Where the runtime's
// poller does not take it, a thread waits.
func (p *poller) start(file *os.File, fd int) error {
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return err
	}
	p.file, p.fd = file, fd
	p.waiting = map[uint64]chan struct{}{}
	go func() {
		if err := conn.Read(p.dispatch); errors.Is(err, os.ErrClosed) {
			return
		}
		for p.wait(-1) >= 0 {
		}
	}()
	return nil
}

// dispatch takes what there is, and asks to be called again for more.
func (p *poller) dispatch(uintptr) (done bool) {
	for p.wait(0) == maxEvents {
	}
	return false
}

const maxEvents = 64

// wait waits for events, for milliseconds or for ever, and tells those who wait
// for them. It gives how many there were, or -1.
func (p *poller) wait(milliseconds int) int {
	var events [maxEvents]unix.EpollEvent
	n := -1
	ignoringEINTR(func() (err error) {
		n, err = unix.EpollWait(p.fd, events[:], milliseconds)
		return err
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events[:max(n, 0)] {
		token := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		if ended, ok := p.waiting[token]; ok {
			delete(p.waiting, token)
			close(ended)
		}
	}
	return n
}
