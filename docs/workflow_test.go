package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	action  = regexp.MustCompile(`uses: (\S+)`)
	pinned  = regexp.MustCompile(`uses: \S+@[0-9a-f]{40} # v\d`)
	job     = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*):$`)
	limited = regexp.MustCompile(`(?m)^    timeout-minutes: \d+$`)
	hashed  = regexp.MustCompile(`hashFiles\(([^)]*)\)`)
	depends = regexp.MustCompile(`cache-dependency-path: \|((?:\n {12}\S+)+)`)
)

// A workflow runs nothing but what it names by commit, each of its jobs has an
// end, and what its caches depend on is there: GitHub takes a file that is not for
// one that never changes.
func TestWorkflows(t *testing.T) {
	pages, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		text := read(t, page)
		for line := range strings.Lines(text) {
			if m := action.FindStringSubmatch(line); m != nil && !pinned.MatchString(line) {
				t.Errorf("%s: %s is not pinned by a commit, with its version behind it", page, m[1])
			}
		}
		_, jobs, _ := strings.Cut(text, "\njobs:\n")
		starts := job.FindAllStringSubmatchIndex(jobs, -1)
		if len(starts) == 0 {
			t.Errorf("%s: no jobs", page)
		}
		for i, at := range starts {
			end := len(jobs)
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			if !limited.MatchString(jobs[at[0]:end]) {
				t.Errorf("%s: %s has no timeout-minutes", page, jobs[at[2]:at[3]])
			}
		}
		for _, m := range hashed.FindAllStringSubmatch(text, -1) {
			// The targets' emulators and Debian's names are in the one, the kernels in the other.
			if strings.Contains(m[1], "'qemu/target.go'") != strings.Contains(m[1], "'internal/arch/arch.go'") {
				t.Errorf("%s: a key has one of qemu/target.go and internal/arch/arch.go, and not the other: %s", page, m[1])
			}
		}
		for _, file := range keyFiles(text) {
			if found, err := filepath.Glob("../" + file); err != nil || len(found) == 0 {
				t.Errorf("%s: there is no %s", page, file)
			}
		}
	}
}

// keyFiles are the patterns of the files that caches depend on.
func keyFiles(text string) (files []string) {
	for _, m := range hashed.FindAllStringSubmatch(text, -1) {
		for f := range strings.SplitSeq(m[1], ",") {
			files = append(files, strings.Trim(f, " '"))
		}
	}
	for _, m := range depends.FindAllStringSubmatch(text, -1) {
		files = append(files, strings.Fields(m[1])...)
	}
	return files
}
