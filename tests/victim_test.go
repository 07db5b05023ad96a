//go:build linux

package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// The victim starts children in a way, and says where its secret is before, and
// how many it has started, and whether its memory has changed, behind it.
var victim = helper.New("victim", func(args []string) int {
	name, path, long := args[0], args[1], args[2]
	secret.read, secret.write = rand.Uint64(), 1
	fmt.Println(secretAddress(), secret.read)
	bufio.NewReader(os.Stdin).ReadString('\n')
	for _, w := range sieges() {
		if w.name == name {
			fmt.Println(w.run(path, long), secret.write != 1)
		}
	}
	return 0
})

// run starts children until there are enough.
func (w *siege) run(path, long string) (starts int64) {
	limit, end := int64(helper.Rounds(300)), time.Time{}
	if w.attr != nil && w.attr.Syscalls != nil {
		limit /= 5
	}
	if long != "" {
		d, err := time.ParseDuration(long)
		if err != nil {
			panic(err)
		}
		limit, end = 1<<62, time.Now().Add(d)
	}
	if w.undone {
		end := make(chan struct{})
		defer close(end)
		go func() {
			for {
				select {
				case <-end:
					return
				case <-time.After(time.Millisecond):
					unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
				}
			}
		}()
	}
	if w.beside {
		defer besides(path)()
	}
	workers := 1
	if w.many {
		workers = 4
	}
	var n atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for n.Add(1) <= limit && (long == "" || time.Now().Before(end)) {
				w.start(path)
			}
		})
	}
	all.Wait()
	return n.Load() - int64(workers)
}

// besides has os/exec start children of another user, one after the other, and
// between them, when none is under way, makes the process dumpable again: without
// vspawn no one could read it. Its children take a while to their exec.
func besides(path string) (end func()) {
	var over atomic.Bool
	done := make(chan struct{})
	long := make([]string, 1000)
	for i := range long {
		long[i] = strings.Repeat("x", 1000)
	}
	go func() {
		defer close(done)
		for !over.Load() {
			if err := vspawn.SetDumpable(1); err != nil {
				panic(err)
			}
			cmd := osexec.Command(path, long...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			if err := cmd.Run(); err != nil {
				panic(err)
			}
		}
	}()
	return func() {
		over.Store(true)
		<-done
	}
}

// start starts one child.
func (w *siege) start(path string) {
	ctx := context.Background()
	if w.credible {
		cmd := exec.Command(path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if err := cmd.Run(); err != nil {
			panic(err)
		}
		return
	}
	if w.cancelled {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Microsecond)
		defer cancel()
	}
	p, err := vspawn.Start(ctx, path, nil, w.attr)
	if err != nil {
		if !w.cancelled && !(w.path != "" && errors.Is(err, unix.ENOENT)) {
			panic(err)
		}
		return
	}
	if _, err := p.Wait(context.Background()); err != nil {
		panic(err)
	}
}
