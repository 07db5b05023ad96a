//go:build !linux && !plan9

package vspawn

import "syscall"

type signalNumber = syscall.Signal
