//go:build linux

package exec_test

import (
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// The examples that need the programs of a whole system say what they are to say.
func TestExamples(t *testing.T) {
	helper.Examples(t, []helper.Example{
		{Name: "Command", Run: ExampleCommand, Want: "SOME INPUT\n"},
		{Name: "Attr", Run: ExampleCmd_Attr, Want: "0077\n10\nfork/exec /bin/sh: vspawn: chroot /not/here (Attr.Chroot): no such file or directory\ntrue\n"},
		{Name: "CommandContext", Run: ExampleCommandContext, Want: "\"begun\\n\", <nil>\nsignal: killed\n"},
	})
}
