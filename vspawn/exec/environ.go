package exec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// environ is the child's environment. nil is the parent's as it is: that has
// no duplicates.
func (c *Cmd) environ() ([]string, error) {
	env := c.Env
	var dirErr error
	if env == nil {
		if c.Dir == "" {
			return nil, nil
		}
		env = os.Environ()
		var dir string
		if dir, dirErr = filepath.Abs(c.Dir); dirErr == nil {
			env = append(env, "PWD="+dir)
		}
	}
	env, err := unique(env)
	if dirErr != nil {
		err = dirErr
	}
	return env, err
}

// unique gives each variable the last of its values. What has no value stays,
// unless it is empty. What no environment can hold is dropped, and an error.
func unique(env []string) ([]string, error) {
	var err error
	last := make(map[string]int, len(env))
	out := make([]string, 0, len(env))
	for i, v := range env {
		if strings.IndexByte(v, 0) < 0 {
			last[key(v)] = i
		} else {
			err = errors.New("exec: environment variable contains NUL")
		}
	}
	for i, v := range env {
		if k := key(v); v != "" && strings.IndexByte(v, 0) < 0 && (k == "" || last[k] == i) {
			out = append(out, v)
		}
	}
	return out, err
}

// key is the name of a variable, with the "=", or "" of what is none. A "=" in
// front belongs to the name.
func key(v string) string {
	if v == "" {
		return ""
	}
	i := strings.IndexByte(v[1:], '=')
	if i >= 0 {
		return v[:i+2]
	}
	if v[0] == '=' {
		return "="
	}
	return ""
}
