package layers

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestModule(t *testing.T) {
	complaints, err := check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range complaints {
		t.Error(c)
	}
}

func TestCheck(t *testing.T) {
	const none = ""
	for _, c := range []struct{ file, imports, complaint string }{
		{"asm/program.go", `"os"`, "asm/program.go imports os, which asm/ must not know"},
		{"asm/defs_linux_s390x.go", `"golang.org/x/sys/unix"`, "which asm/ must not know"},
		{"asm/spawn.go", `_ "unsafe"`, none},
		{"asm/spawn.go", `"unsafe"`, "only *_unsafe.go may"},
		{"asm/none.go", `_ "unsafe"`, "only *_unsafe.go may"},
		{"asm/spawn_test.go", `"golang.org/x/sys/unix"`, none},
		{"asm/spawn_test.go", `"github.com/vspawn/vspawn/vspawn"`, "which asm/ must not know"},
		{"asm/audit/amd64_test.go", `"golang.org/x/arch/x86/x86asm"`, none},
		{"asm/audit/stubs_test.go", `"github.com/vspawn/vspawn/internal/arch"`, "which asm/audit/ must not know"},
		{"asm/audit/audit.go", `"golang.org/x/arch/x86/x86asm"`, "which asm/audit/ must not know"},
		{"vspawn/start_linux.go", `"golang.org/x/sys/unix"`, none},
		{"vspawn/start_linux.go", `"golang.org/x/net/context"`, "which vspawn/ must not know"},
		{"vspawn/start_linux.go", `"os/exec"`, "which vspawn/ must not know"},
		{"vspawn/start_linux.go", `"github.com/vspawn/vspawn/qemu"`, "which vspawn/ must not know"},
		{"vspawn/start_linux.go", `"github.com/u-root/u-root/pkg/cpio"`, "which vspawn/ must not know"},
		{"vspawn/load_unsafe.go", `"unsafe"`, none},
		{"vspawn/load.go", `"unsafe"`, "only *_unsafe.go may"},
		{"vspawn/bench_test.go", `"os/exec"`, none},
		{"vspawn/exec/exec.go", `"golang.org/x/sys/unix"`, "which vspawn/exec/ must not know"},
		{"nommu/relocate.go", `"github.com/vspawn/vspawn/vspawn"`, "which nommu/ must not know"},
		{"initramfs/base.go", `"github.com/vspawn/vspawn/qemu/guest"`, "which initramfs/ must not know"},
		{"initramfs/base.go", `"github.com/u-root/mkuimage/uimage"`, none},
		{"initramfs/base.go", `"github.com/vspawn/vspawn/internal/gobuild"`, none},
		{"initramfs/base.go", `"os/exec"`, "which initramfs/ must not know"},
		{"initramfs/base.go", `"github.com/vspawn/vspawn/nommu"`, "which initramfs/ must not know"},
		{"nommu/build.go", `"github.com/vspawn/vspawn/internal/gobuild/gocmd"`, none},
		{"nommu/build.go", `"github.com/vspawn/vspawn/internal/gobuild"`, "which nommu/ must not know"},
		{"internal/gobuild/toolchain.go", `"github.com/vspawn/vspawn/initramfs"`, "which internal/gobuild/ must not know"},
		{"qemu/run.go", `"github.com/vspawn/vspawn/tests"`, "which qemu/ must not know"},
		{"qemu/run.go", `"github.com/vspawn/vspawn/initramfs"`, none},
		{"internal/host/lock.go", `"golang.org/x/sys/unix"`, none},
		{"internal/host/lock.go", `"github.com/vspawn/vspawn/qemu"`, "which internal/host/ must not know"},
		{"internal/usage/usage.go", `"github.com/vspawn/vspawn/internal/host"`, "which internal/usage/ must not know"},
		{"internal/supply/store.go", `"github.com/vspawn/vspawn/internal/host"`, none},
		{"internal/supply/store.go", `"github.com/vspawn/vspawn/qemu"`, "which internal/supply/ must not know"},
		{"internal/supply/store.go", `"github.com/vspawn/vspawn/initramfs"`, "which internal/supply/ must not know"},
		{"asm/spawn_test.go", `"github.com/vspawn/vspawn/internal/testkit/helper"`, none},
		{"asm/spawn.go", `"github.com/vspawn/vspawn/internal/testkit/helper"`, "which asm/ must not know"},
		{"qemu/run_test.go", `"github.com/vspawn/vspawn/internal/testkit/helper"`, none},
		{"qemu/run.go", `"github.com/vspawn/vspawn/internal/testkit/helper"`, "which qemu/ must not know"},
		{"internal/testkit/asmtest/asmtest.go", `"github.com/vspawn/vspawn/asm"`, none},
		{"internal/testkit/asmtest/asmtest.go", `"github.com/vspawn/vspawn/vspawn"`, "which internal/testkit/ must not know"},
		{"tests/fact_test.go", `"github.com/vspawn/vspawn/vspawn/internal/nofile"`, "which tests/ must not know"},
		{"cmd/vspawn/main.go", `"github.com/vspawn/vspawn/asm"`, "which cmd/vspawn/ must not know"},
		{"cmd/vspawn/main.go", `"go/ast"`, "which cmd/vspawn/ must not know"},
		{"cmd/vspawn/main_test.go", `"go/parser"`, none},
		{"cmd/vspawn-migrate/migrate.go", `"go/ast"`, none},
		{"cmd/vspawn-migrate/migrate.go", `"github.com/vspawn/vspawn/vspawn"`, "which cmd/vspawn-migrate/ must not know"},
		{"cmd/rig/main.go", `"unsafe"`, "only *_unsafe.go may"},
		{"asm/testdata/bad.go", `"os"`, none},
	} {
		complaints, err := check(fstest.MapFS{c.file: {Data: []byte("package p\nimport " + c.imports + "\n")}})
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(complaints, "; ")
		if (c.complaint == none) != (got == "") || !strings.Contains(got, c.complaint) {
			t.Errorf("%s importing %s: got %q, want %q", c.file, c.imports, got, c.complaint)
		}
	}
}
