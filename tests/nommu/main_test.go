//go:build linux

// Package nommu shows what programs made by package nommu can rely on, on a kernel
// without an MMU: the runtime, and memory in blocks. Where there is an MMU most of it
// has nothing to say, so of the guests only those without one run it.
package nommu

import (
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

func TestMain(m *testing.M) { helper.Main(m) }
