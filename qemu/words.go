package qemu

import (
	"slices"
	"strings"
	"unicode"

	"github.com/vspawn/vspawn/internal/usage"
)

// maxAppend is how long the user's arguments may be: all of them together must be
// shorter than the 1024 bytes that a kernel takes on riscv.
const maxAppend = 512

// ParseAppend looks whether s can be added to a kernel's command line without
// making something else of what comes after it there.
func ParseAppend(s string) (string, error) {
	args := strings.TrimSpace(s)
	switch {
	case strings.ContainsFunc(args, unicode.IsControl):
		return "", usage.Errorf("APPEND=%q: give arguments for the kernel on one line", s)
	case len(args) > maxAppend:
		return "", usage.Errorf("APPEND=%s: %d bytes are too long for a kernel's command line: give up to %d", s, len(args), maxAppend)
	case strings.Count(args, `"`)%2 != 0:
		return "", usage.Errorf("APPEND=%s: there is no end to a quotation", s)
	case slices.Contains(strings.Fields(args), "--"):
		return "", usage.Errorf("APPEND=%s: after -- come arguments for PID 1, which takes none: leave it out", s)
	}
	return args, nil
}

// ParseArgs parts s into arguments for QEMU, at blanks and by quotation marks and
// backslashes as a shell does. Nothing else means anything to it, not even a $.
func ParseArgs(s string) ([]string, error) {
	var args []string
	var word strings.Builder
	var quote rune // that is open
	begun, escaped := false, false
	for _, r := range s {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", r) {
				word.WriteByte('\\') // which a shell keeps there
			}
			if r != '\n' { // a line that goes on
				word.WriteRune(r)
				begun = true
			}
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case unicode.IsSpace(r):
			if begun {
				args = append(args, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	switch {
	case quote != 0:
		return nil, usage.Errorf("QEMU_ARGS=%s: a quotation has no end: give another %c", s, quote)
	case escaped:
		return nil, usage.Errorf("QEMU_ARGS=%s: nothing follows the last backslash: leave it out", s)
	}
	if begun {
		args = append(args, word.String())
	}
	return args, nil
}
