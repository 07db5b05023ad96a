//go:build linux

package tests

import (
	"errors"
	"testing"

	"github.com/vspawn/vspawn/vspawn"
	"golang.org/x/sys/unix"
)

// needUserNamespaces skips a test where there can be no new user namespace.
func needUserNamespaces(t *testing.T) {
	t.Helper()
	_, err := vspawn.Start(t.Context(), "/no/such/program", nil, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER})
	var e *vspawn.Error
	if errors.As(err, &e) && e.Step != "execve" {
		t.Skip("no user namespaces here: ", err)
	}
}
