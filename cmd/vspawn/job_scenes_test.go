//go:build linux

package main

import (
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var scenes = map[string]func(*jobShell){
	"foreground": func(s *jobShell) {
		s.start(foreground)
		for range 3 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the foreground")
		}
		s.exits()
	},
	"in the background for a while": func(s *jobShell) {
		s.start(foreground)
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.bg()
		s.event("continued in the background")
		s.order("read")
		s.stopped(unix.SIGTTIN)
		s.fg()
		s.event("continued in the foreground")
		s.key("x\n")
		s.event("has read x")
		s.exits()
	},
	"ends in the background": func(s *jobShell) {
		s.start(foreground)
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.bg()
		s.event("continued in the background")
		s.exits()
	},
	"ours ends in the background": func(s *jobShell) {
		s.start([]string{"-foreground"})
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.bg()
		s.event("continued in the background")
		s.exits()
	},
	"takes it from the shell": func(s *jobShell) {
		s.inBackground = true
		s.start(foreground)
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.has(unix.Getpgrp())
		s.fg()
		s.event("continued in the foreground")
		s.exits()
	},
	"another group": func(s *jobShell) {
		s.start(background)
		for range 3 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the background")
			s.has(s.vspawn)
		}
		s.exits()
	},
	"our group": func(s *jobShell) {
		s.start(nil)
		for range 2 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the foreground")
		}
		s.exits()
	},
	"from outside": func(s *jobShell) {
		for _, flags := range [][]string{foreground, background} {
			s.start(flags)
			for range 2 {
				unix.Kill(s.child, unix.SIGSTOP)
				s.stopped(unix.SIGTSTP)
				s.fg()
				s.event("continued in the " + s.where)
			}
			s.exits()
		}
	},
	// Only vspawn is stopped, and the shell takes the terminal.
	"vspawn alone": func(s *jobShell) {
		s.start(foreground)
		unix.Kill(s.vspawn, unix.SIGSTOP)
		s.stopped(unix.SIGSTOP)
		s.fg()
		for s.group() != s.child { // there is no event
			time.Sleep(time.Millisecond)
		}
		unix.Kill(s.vspawn, unix.SIGTSTP)
		s.stopped(unix.SIGTSTP)
		s.childStopped()
		s.fg()
		s.event("continued in the foreground")
		s.exits()
	},
	// vspawn's group has a member that knows nothing of jobs, and has started it.
	"a script": func(s *jobShell) {
		s.script = true
		s.start(foreground)
		for range 2 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the foreground")
		}
		s.exits()
	},
	// There is no shell: vspawn leads the session.
	"no shell": func(s *jobShell) {
		for _, flags := range [][]string{foreground, background} {
			s.withoutControl = true
			s.start(flags)
			s.key(ctrlZ)
			s.event("continued in the " + s.where)
			s.key(ctrlC)
			s.ended(interrupted)
		}
	},
	// The child wants the terminal and can't have it. It is not continued again
	// and again, but its end is possible.
	"no shell, no terminal": func(s *jobShell) {
		s.withoutControl = true
		for _, end := range []struct {
			signal syscall.Signal
			send   func()
		}{
			{unix.SIGINT, func() { s.key(ctrlC) }},
			{unix.SIGHUP, func() { unix.Kill(s.vspawn, unix.SIGHUP) }},
		} {
			s.start(background)
			s.order("read")
			s.childStopped()
			end.send()
			s.ended(exitSignal + int(end.signal))
		}
	},
	// The stop that was asked for is the child's alone.
	"stopped at its start": func(s *jobShell) {
		s.launch(append([]string{"-stopped"}, foreground...))
		for s.child == 0 {
			s.child = stoppedPlayer(s.vspawn)
		}
		unix.Kill(s.child, unix.SIGCONT)
		s.event(fmt.Sprint("ready ", s.child))
		s.exits()
	},
	// A key is for the child's children, too.
	"interrupted": func(s *jobShell) {
		for _, flags := range [][]string{background, {"-setsid"}} {
			s.start(flags)
			s.order("run")
			if _, err := s.events.ReadByte(); err != nil {
				s.fail("the child's child does not start: %v", err)
			}
			s.key(ctrlC)
			s.event(fmt.Sprint("its child has ended by ", 40+int(unix.SIGINT)))
			s.exits()
		}
	},
	"SIGTSTP ignored": func(s *jobShell) {
		signal.Ignore(unix.SIGTSTP)
		s.start(background)
		if !ignoredBy(s.child, unix.SIGTSTP) {
			s.fail("the child does not ignore SIGTSTP")
		}
		unix.Kill(s.vspawn, unix.SIGTSTP)
		s.exits()
	},
}
