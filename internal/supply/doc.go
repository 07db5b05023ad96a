// Package supply has kernels and emulators for whoever needs one: Debian's
// packages, or what is built from its kernel source, verified by apt and kept in
// the user's cache. It knows nothing of what they are run for.
//
// Each is fetched by itself, from the first of its suites that has it: a mirror
// that is out of step for one architecture concerns no other.
package supply
