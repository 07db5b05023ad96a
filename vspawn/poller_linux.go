package vspawn

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// poll tells when children end. It is one epoll instance for all pidfds,
// itself watched by the runtime's poller, so that any number of waits holds no
// thread, and costs each two system calls less than an os.File of its own.
var poll poller

type poller struct {
	mu      sync.Mutex
	file    *os.File // the epoll instance, once there is one
	fd      int
	next    uint64
	waiting map[uint64]chan struct{} // by token
}

// add has ended closed when the child behind pidfd ends.
func (p *poller) add(pidfd int, ended chan struct{}) (token uint64, err error) {
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
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(token), Pad: int32(token >> 32)}
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
	p.file, p.fd = os.NewFile(uintptr(fd), "epoll"), fd
	p.waiting = map[uint64]chan struct{}{}
	conn, err := p.file.SyscallConn()
	if err != nil {
		p.file.Close()
		p.file = nil
		return err
	}
	go conn.Read(p.dispatch)
	return nil
}

// dispatch takes what there is, and asks to be called again for more.
func (p *poller) dispatch(fd uintptr) (done bool) {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(int(fd), events[:], 0)
		if err == unix.EINTR {
			continue
		}
		p.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			token := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if ended, ok := p.waiting[token]; ok {
				delete(p.waiting, token)
				close(ended)
			}
		}
		p.mu.Unlock()
		if n < len(events) {
			return false
		}
	}
}
