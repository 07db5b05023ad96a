// Package host is what this machine has and lacks: programs, and locks between
// the processes that run on it.
package host
