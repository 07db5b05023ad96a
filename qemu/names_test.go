package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

const oddTests = `package odd

import (
	"fmt"
	"testing"
)

type N struct{}

func TestMain(m *testing.M)           { m.Run() }
func Test(t *testing.T)               {}
func TestA(t *testing.T)              {}
func Test_b(*testing.T)               {}
func Test1(t *testing.T)              {}
func Testing(t *testing.T)            {}
func TestÄ(t *testing.T)              {}
func FuzzA(f *testing.F)              {}
func BenchmarkA(b *testing.B)         {}
func (N) TestMethod(t *testing.T)     {}
func Example()                        { fmt.Println("x") /* Output: x */ }
func ExampleN()                       {
	fmt.Println("x")
	// Output: x
}
func ExampleN_empty() {
	// Output:
}
func ExampleN_none() { fmt.Println("x") }
`

// What is read from the source is what the binary lists, by the go command's own
// judgement.
func TestSourceTests(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "odd_test.go")
	for name, text := range map[string]string{
		"go.mod":      "module odd\ngo 1.25\n",
		"odd_test.go": oddTests,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-vet=off", "-list=.")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := wire.TestNames(string(out))
	got, err := sourceTests([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(got) < 8 {
		t.Errorf("%q, want %q", got, want)
	}
}
