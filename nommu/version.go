package nommu

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
)

// Version stands for all that Build does to a program, for caches: two that are
// alike make the same file of the same input.
func Version() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %+v\n", format, edits)
	err := fs.WalkDir(added, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := added.ReadFile(name)
		fmt.Fprintf(h, "%q %q\n", name, b)
		return err
	})
	if err != nil {
		panic(err) // the files are part of this program
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}
