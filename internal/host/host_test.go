package host

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/usage"
)

func TestMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "header.h")
	tools := []Tool{{"sh", "dash"}, {"no-such-program", "new|old"}, {"no-such-program", "new|old"}, {file, "headers"}}
	if got := MissingTools(tools); len(got) != 2 || got[0] != tools[1] || got[1] != tools[3] {
		t.Errorf("missing: %v", got)
	}
	err := CheckTools(tools)
	if !usage.Is(err) || !strings.Contains(err.Error(), "no-such-program (Debian package new or old)") {
		t.Errorf("error: %v", err)
	}
	if err := CheckTools(tools[:1]); err != nil {
		t.Error(err)
	}
}

func TestOutput(t *testing.T) {
	if out, err := Output(exec.Command("sh", "-c", "echo out; echo err >&2")); string(out) != "out\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	_, err := Output(exec.Command("sh", "-c", "printf '1\n2\n3\n4\n' >&2; exit 3"))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.HasSuffix(err.Error(), "exit status 3: 2; 3; 4") {
		t.Errorf("error: %v", err)
	}
}

// Who has a directory has it alone, in this process too.
func TestLockDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	unlock, err := LockDir(t.Context(), dir, func() { t.Error("waits for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	if second, err := TryLockDir(dir); second != nil || err != nil {
		t.Errorf("locked twice, or %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := LockDir(ctx, dir, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	waited := false
	free := unlock
	unlock, err = LockDir(t.Context(), dir, func() {
		waited = true
		free()
	})
	if err != nil || !waited {
		t.Fatalf("waited: %v, %v", waited, err)
	}
	unlock()
}

// Of those that wait for a directory which its holder removes, one gets the new
// one, and not each the old.
func TestLockDirRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	unlock, err := TryLockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(filepath.Join(dir, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
	if isStill(opened, opened.Name()) {
		t.Error("a file that is gone is taken for the one that is there")
	}
	unlock, err = TryLockDir(dir)
	if unlock == nil || err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if isStill(opened, opened.Name()) {
		t.Error("another file is taken for the one that was opened")
	}
}

// However they meet, one at a time has it.
func TestLockDirContended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	var held atomic.Int32
	var group sync.WaitGroup
	end := time.Now().Add(300 * time.Millisecond)
	for range 8 {
		group.Go(func() {
			for time.Now().Before(end) {
				unlock, err := TryLockDir(dir)
				if err != nil {
					t.Error(err)
					return
				}
				if unlock == nil {
					continue
				}
				if n := held.Add(1); n != 1 {
					t.Errorf("%d hold it", n)
				}
				time.Sleep(50 * time.Microsecond)
				held.Add(-1)
				RemoveLock(dir)
				unlock()
			}
		})
	}
	group.Wait()
}

func TestLockDirUnwritable(t *testing.T) {
	if _, err := TryLockDir("/dev/null/a"); !usage.Is(err) {
		t.Errorf("error: %v", err)
	}
}
