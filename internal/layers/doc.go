// Package layers has a test that keeps the project's packages to what each may
// know: the table of docs/design.md.
package layers
