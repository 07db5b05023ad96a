package docs

import (
	"errors"
	"fmt"
	"html"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/golden"
)

// session is what is typed in the README's picture.
var session = []string{
	`vspawn run -dir / -setsid -umask 077 -rlimit nofile=64 -- sh -c 'pwd; umask; ulimit -n'`,
	`vspawn plan -dir / -setsid -umask 077 -rlimit nofile=64 -clear-env -- /bin/sh`,
	`vspawn run -chroot /nope -- /bin/sh`,
	`echo '#!/opt/none/sh' >hello; chmod +x hello; vspawn run ./hello`,
}

// session.svg is what the commands say.
func TestSession(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the command starts programs on Linux only")
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "../cmd/vspawn").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var lines []shown
	for _, command := range session {
		lines = append(lines, shown{command, prompt})
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + dir + ":/bin:/usr/bin"}
		out, err := cmd.CombinedOutput()
		kind := output
		if errors.As(err, new(*exec.ExitError)) {
			kind = failure
		} else if err != nil {
			t.Fatal(err)
		}
		// An older kernel has the child made, and its descriptors closed, by other calls.
		if strings.HasPrefix(command, "vspawn plan") && !(strings.Contains(string(out), "CLONE_CLEAR_SIGHAND") && strings.Contains(string(out), "CLOSE_RANGE_UNSHARE")) {
			t.Skipf("this system lacks calls that the picture has; here the plan is:\n%s", out)
		}
		for line := range strings.Lines(string(out)) {
			lines = append(lines, shown{strings.TrimSuffix(line, "\n"), kind})
		}
	}
	if len(lines) < 3*len(session) {
		t.Errorf("%d commands say only: %v", len(session), lines)
	}
	text := svg(lines)
	for _, own := range []string{dir, filepath.Base(dir)} {
		if strings.Contains(text, own) {
			t.Errorf("%s is in the picture", own)
		}
	}
	golden.Check(t, "session.svg", text)
}

// A shown is one line of a terminal, in the colour of its kind.
type shown struct{ text, kind string }

const (
	prompt  = "#e6edf3"
	output  = "#9da7b3"
	failure = "#ffa198"
)

// The terminal: its columns, and in pixels a character, a line, the margin.
const (
	columns  = 100
	charPx   = 8
	linePx   = 19
	marginPx = 16
)

// svg draws a terminal that shows lines, each of which goes on in the next where it is
// too long.
func svg(lines []shown) string {
	var b strings.Builder
	y := marginPx
	for i, l := range lines {
		text := l.text
		if l.kind == prompt {
			text = "$ " + text
			if i > 0 {
				y += linePx / 2
			}
		}
		for runes := []rune(text); len(runes) > 0; {
			n := min(len(runes), columns)
			y += linePx
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" fill=\"%s\" xml:space=\"preserve\">%s</text>\n",
				marginPx, y-linePx/4, l.kind, html.EscapeString(string(runes[:n])))
			runes = runes[n:]
		}
	}
	width, height := columns*charPx+2*marginPx, y+marginPx
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"ui-monospace, monospace\" font-size=\"13\">\n"+
		"<title>vspawn at a shell; made by go test ./docs -update</title>\n"+
		"<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#0d1117\"/>\n%s</svg>\n", width, height, width, height, width, height, &b)
}
