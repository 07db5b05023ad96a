// Package host is what this machine has and lacks: programs, and locks between
// the processes that run on it.
package host

import "github.com/vspawn/vspawn/internal/usage"

// A UsageError is an error that the caller can mend.
type UsageError = usage.Error

// Usagef is usage.Errorf.
func Usagef(format string, args ...any) error { return usage.Errorf(format, args...) }
