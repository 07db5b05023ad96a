// Package audit disassembles the stubs of package asm and checks the promises
// that no running test can show to hold on every path: that the child of
// spawn never uses a stack, and that Vfork keeps its return address out of
// memory while the child runs. It has tests only, and runs on the host for
// every architecture.
//
// A new architecture is one file with its decoder, and one file of bad stubs in
// testdata/bad.
package audit
