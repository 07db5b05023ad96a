// Package modules has tests that the repository's modules fit each other, and that
// one who requires the library gets nothing of what its tests and the rig require:
// see docs/releasing.md.
package modules
