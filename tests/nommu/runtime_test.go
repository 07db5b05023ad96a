//go:build linux

package nommu

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// A nil pointer is a panic that can be recovered from, also where no page is
// there to fault: each kind of access is found out.
func TestNilPointers(t *testing.T) {
	type record struct {
		words [4]int64
		half  int32
		byte  byte
		real  float64
		far   [500]int64
	}
	var r *record
	var f func()
	var sum float64
	for name, access := range map[string]func(){
		"load of a word":           func() { sum += float64(r.words[2]) },
		"load of half a word":      func() { sum += float64(r.half) },
		"load of a byte":           func() { sum += float64(r.byte) },
		"load of a float":          func() { sum += r.real },
		"load from afar":           func() { sum += float64(r.far[499]) },
		"store of a word":          func() { r.words[2] = 1 },
		"store of half a word":     func() { r.half = 1 },
		"store of a byte":          func() { r.byte = 1 },
		"store of a float":         func() { r.real = 1 },
		"atomic addition":          func() { atomic.AddInt64(&r.words[1], 1) },
		"atomic compare-and-swap":  func() { atomic.CompareAndSwapInt32(&r.half, 1, 2) },
		"call":                     func() { f() },
		"access in another's code": func() { (*time.Timer)(nil).Stop() },
	} {
		func() {
			defer func() {
				err, ok := recover().(runtime.Error)
				if !ok || !strings.Contains(err.Error(), "nil pointer") {
					t.Errorf("%s: got %v", name, err)
				}
			}()
			access()
		}()
	}
	if sum != 0 {
		t.Error("a nil pointer was read")
	}
}

// Without an MMU a program that grows and shrinks again gives the memory back.
func TestMemoryGivenBack(t *testing.T) {
	if helper.MMU() {
		t.Skip("with an MMU the free memory says little of one program")
	}
	const size = 20 << 20
	before := helper.MemFree(t)
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	has := int(heap.HeapSys - heap.HeapAlloc) // which it need not ask the kernel for
	for _, c := range []struct {
		name   string
		object int
	}{{"large objects", 1 << 20}, {"small objects", 1000}} {
		var objects [][]byte
		for n := 0; n < size; n += c.object {
			objects = append(objects, make([]byte, c.object))
		}
		full := helper.MemFreeNow(t)
		runtime.KeepAlive(objects)
		objects = nil
		runtime.GC()
		after := 0
		for range 100 {
			if after = helper.MemFreeNow(t); before-after < 2<<20 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("%s: %d KiB free before, %d KiB when it was large, %d KiB after; %d KiB were the program's already",
			c.name, before>>10, full>>10, after>>10, has>>10)
		if before-full < size-has || before-after >= 2<<20 {
			t.Errorf("%s: the free memory fell by %d KiB, and by %d KiB in the end; %d KiB were the program's already",
				c.name, (before-full)>>10, (before-after)>>10, has>>10)
		}
	}
}

// modestHelper serves, sleeps and starts a program, and says how many bytes it
// then has beyond its image.
var modestHelper = helper.New("modest", func(args []string) int {
	if err := serve(args[0]); err != nil {
		panic(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := exec.Command(args[1]).Run(); err != nil {
		panic(err)
	}
	fmt.Println(beyondImage())
	return 0
})

// serve answers a few hundred lines over a socket.
func serve(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	for range 3 {
		c, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		r := bufio.NewReader(c)
		for i := range 100 {
			if _, err := fmt.Fprintf(c, "line %d\n", i); err != nil {
				return err
			}
			if _, err := r.ReadString('\n'); err != nil {
				return err
			}
		}
		c.Close()
	}
	return nil
}

// beyondImage adds up the process's mappings, but for that with its code.
func beyondImage() (sum uint64) {
	code := uint64(reflect.ValueOf(beyondImage).Pointer())
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		if n, _ := fmt.Sscanf(line, "%x-%x", &from, &to); n == 2 && (code < from || code >= to) {
			sum += to - from
		}
	}
	return sum
}

// Without an MMU a small program takes 3 MB at most beyond its image.
func TestModestMemory(t *testing.T) {
	cmd := modestHelper.Command(filepath.Join(t.TempDir(), "socket"), tiny.Exit(t, 0)) // also where this is skipped
	if helper.MMU() {
		t.Skip("with an MMU a mapping need not be memory")
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var size int
	if _, err := fmt.Sscan(string(out), &size); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB beyond the image, with %d processors", size>>10, runtime.NumCPU())
	if size == 0 || size > 3_000_000 {
		t.Errorf("%d bytes beyond the image", size)
	}
}

// One program after another, each of megabytes in one block, finds its memory.
func TestMemoryIsNotFragmented(t *testing.T) {
	if helper.MMU() {
		t.Skip("with an MMU memory need not be in one block")
	}
	n := helper.Rounds(100)
	if os.Getenv("VSPAWN_LOAD") != "" {
		n = 1000
	}
	before := helper.MemFree(t)
	dir := t.TempDir()
	for i := range n {
		if out, err := modestHelper.Command(filepath.Join(dir, "socket"), tiny.Exit(t, 0)).Output(); err != nil {
			t.Fatalf("process %d: %v, %s", i, err, out)
		}
	}
	if taken := before - helper.MemFree(t); taken > 2<<20 {
		t.Errorf("%d processes took %d KiB", n, taken>>10)
	}
}
