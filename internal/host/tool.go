package host

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/usage"
)

// A Tool is a program, or a file by its absolute path, that something needs, and
// the Debian package that it comes in. Where the name of the package depends on
// the release, Package holds all of them, newest first, separated by "|".
type Tool struct{ Program, Package string }

// MissingTools returns those tools that this machine lacks, each once.
func MissingTools(tools []Tool) []Tool {
	seen := map[Tool]bool{}
	return slices.DeleteFunc(slices.Clone(tools), func(t Tool) bool {
		if seen[t] {
			return true
		}
		seen[t] = true
		var err error
		if filepath.IsAbs(t.Program) {
			_, err = os.Stat(t.Program)
		} else {
			_, err = exec.LookPath(t.Program)
		}
		return err == nil
	})
}

// CheckTools gives an error that lists all tools that this machine lacks.
func CheckTools(tools []Tool) error {
	missing := MissingTools(tools)
	if len(missing) == 0 {
		return nil
	}
	var list []string
	for _, t := range missing {
		list = append(list, t.Program+" (Debian package "+strings.ReplaceAll(t.Package, "|", " or ")+")")
	}
	return usage.Errorf("missing on this machine: %s: run make setup as root on Debian or Ubuntu, or install them by hand", strings.Join(list, ", "))
}

// Output runs a command and gives its stdout; its error holds the last lines
// of its stderr.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return out, nil
}
