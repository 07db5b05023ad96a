package qemu

import "github.com/vspawn/vspawn/internal/host"

// Tools are what running guests of targets needs.
func Tools(targets []Target) []host.Tool {
	tools := []host.Tool{{Program: "setpriv", Package: "util-linux"}, {Program: "setsid", Package: "util-linux"}}
	for _, t := range targets {
		tools = append(tools, host.Tool{Program: t.QEMU, Package: t.Package})
	}
	return tools
}

// OwnTests are the targets that the tests of this package run guests of.
var OwnTests = []string{"arm64", "riscv64-nommu"}

// MissingEnv is the variable that names the targets for which there is no kernel,
// or no emulator, separated by commas: the tests of this package leave their guests out, and
// whoever has set it says so.
const MissingEnv = "RIG_MISSING"
