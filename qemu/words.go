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
// backslashes as a shell does. Nothing else means anything to it, not even a $. It goes
// by bytes, as a file's name need not be UTF-8.
func ParseArgs(s string) ([]string, error) {
	var args []string
	var word []byte
	var quote byte // that is open
	begun, escaped := false, false
	for _, c := range []byte(s) {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", rune(c)) {
				word = append(word, '\\') // which a shell keeps there
			}
			if c != '\n' { // a line that goes on
				word = append(word, c)
				begun = true
			}
			escaped = false
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == '\'' || c == '"':
			quote, begun = c, true
		case strings.ContainsRune(" \t\n", rune(c)):
			if begun {
				args = append(args, string(word))
			}
			word, begun = nil, false
		default:
			word = append(word, c)
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
		args = append(args, string(word))
	}
	return args, nil
}
