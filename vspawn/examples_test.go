//go:build linux

package vspawn_test

import (
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// The examples that need the programs of a whole system say what they are to say.
func TestExamples(t *testing.T) {
	helper.Examples(t, []helper.Example{
		{Name: "For", Run: ExamplePlan_For, Want: "one\ntwo\n"},
		{Name: "Run", Run: ExampleRun, Want: "signal: killed; context deadline exceeded\n"},
		{Name: "File", Run: ExampleFile, Want: "\"hello\\n\", exit status 7, <nil>\n"},
		{Name: "limits", Run: Example_limits, Want: "context deadline exceeded; signal: killed, <nil>\n"},
		{Name: "write, then exec", Run: Example_writeThenExec, Want: "written\nexit status 0 <nil>\n"},
		{Name: "memfd", Run: Example_memfd, Want: "exit status 3 <nil>\n"},
	})
}
