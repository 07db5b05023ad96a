package nommu

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestEditFiles(t *testing.T) {
	src := fstest.MapFS{"runtime/a.go": {Data: []byte("one two three two")}}
	for _, c := range []struct {
		name string
		edit edit
		want string // the text, or a part of the error
	}{
		{"once", edit{file: "runtime/a.go", old: "one", new: "1"}, "1 two three two"},
		{"missing", edit{file: "runtime/a.go", old: "four", why: "reason"}, `other text in runtime/a.go: "four" is there 0 times`},
		{"twice", edit{file: "runtime/a.go", old: "two", why: "reason"}, `other text in runtime/a.go: "two" is there 2 times`},
		{"no file", edit{file: "runtime/b.go", old: "one"}, "no runtime/b.go"},
		{"a later release", edit{file: "runtime/b.go", old: "one", since: 26}, ""},
		{"an earlier release", edit{file: "runtime/b.go", old: "one", before: 25}, ""},
	} {
		files, err := editFiles(src, 25, []edit{c.edit})
		var input *InputError
		switch {
		case err == nil && files["runtime/a.go"] != c.want:
			t.Errorf("%s: got %q, want %q", c.name, files["runtime/a.go"], c.want)
		case err != nil && (!errors.As(err, &input) || !strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: got %v, want one line with %q", c.name, err, c.want)
		}
	}
}

func TestEditFilesAdds(t *testing.T) {
	files, err := editFiles(fstest.MapFS{}, 25, nil)
	if err != nil || files["runtime/mem_nommu_unsafe.go"] == "" {
		t.Errorf("got %d files, %v", len(files), err)
	}
	src := fstest.MapFS{"runtime/mem_nommu_unsafe.go": {}}
	if _, err := editFiles(src, 25, nil); err == nil || !strings.Contains(err.Error(), "a file runtime/mem_nommu_unsafe.go of its own") {
		t.Errorf("a file of the same name: got %v", err)
	}
}
