package vspawn

import (
	"strconv"
	"syscall"
)

// A Descriptor is one of the parent's: an [*os.File], a connection of package net,
// or anything else that has such a method; a number alone is an [FD]. A file is kept
// from the collector as long as the [Plan] is, and is left as it is: what it blocks
// on, and its deadlines. One that is closed between [Compile] and the start is an
// error of the start. With an FD that can't be told: it stands for what has the
// number then.
type Descriptor interface {
	SyscallConn() (syscall.RawConn, error)
}

// An FD is a [Descriptor] by its number alone: FD(0) is the parent's standard input.
type FD int

// SyscallConn makes an FD a Descriptor. What it gives knows Control alone.
func (fd FD) SyscallConn() (syscall.RawConn, error) { return rawFD(fd), nil }

func (fd FD) String() string { return "descriptor " + strconv.Itoa(int(fd)) }

// A rawFD has nobody who waits for it to be ready.
type rawFD FD

func (fd rawFD) Control(f func(fd uintptr)) error { f(uintptr(fd)); return nil }
func (rawFD) Read(func(fd uintptr) bool) error    { return syscall.EINVAL }
func (rawFD) Write(func(fd uintptr) bool) error   { return syscall.EINVAL }
