package vspawn

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The constants have the numbers of the kernel's headers.
func TestConstants(t *testing.T) {
	needSources(t)
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "constants.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := new(types.Config).Check("constants", files, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var headers strings.Builder
	for _, name := range []string{"ioprio", "personality", "securebits"} {
		text, err := os.ReadFile("/usr/include/linux/" + name + ".h")
		if err != nil {
			t.Skip("the kernel's headers are not installed (linux-libc-dev): ", err)
		}
		headers.Write(text)
	}
	classes := regexp.MustCompile(`(?s)IOPRIO_CLASS_NONE.*?}`).FindString(headers.String())
	for _, name := range pkg.Scope().Names() {
		var want constant.Value
		bit, secure := strings.CutPrefix(name, "SECBIT_")
		switch {
		case strings.HasPrefix(name, "IOPRIO_CLASS_"): // an enum, from 0 on or with its numbers
			before, _, ok := strings.Cut(classes, name)
			if !ok {
				t.Errorf("no header has %s", name)
				continue
			}
			want = constant.MakeInt64(int64(strings.Count(before, ",")))
		case secure:
			bit = find(headers.String(), `#define SECURE_`+bit+`\s+(\d+)`)
			want = constant.MakeFromLiteral(bit, token.INT, 0)
			if want.Kind() == constant.Int {
				want = constant.Shift(constant.MakeInt64(1), token.SHL, uint(mustInt(want)))
			}
		default:
			want = constant.MakeFromLiteral(find(headers.String(), `\b`+name+`\s*=\s*(\w+)`), token.INT, 0)
		}
		got := pkg.Scope().Lookup(name).(*types.Const).Val()
		if want.Kind() != constant.Int || !constant.Compare(got, token.EQL, want) {
			t.Errorf("%s is %v, in the header %v", name, got, want)
		}
	}
}

// find gives what a regular expression's group matches, or "".
func find(text, expression string) string {
	m := regexp.MustCompile(expression).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

func mustInt(v constant.Value) int64 {
	n, _ := constant.Int64Val(v)
	return n
}
