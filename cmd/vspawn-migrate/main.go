// vspawn-migrate moves a program from os/exec to vspawn/exec.
//
// Synopsis:
//
//	vspawn-migrate [-n] [DIRECTORY|DIRECTORY/...]...
//
// Description:
//
//	It changes the imports of os/exec in the Go files of a module to
//	vspawn/exec, and lists the places that need a person: where a command goes
//	to another package, say. Without directories it takes ./... as the go
//	command does. A changed file keeps its owner, its mode and its other names;
//	symbolic links to files are left alone.
//
//	The exit status is 2 for what the user can mend: bad usage, a file that is
//	not Go, one that must not be written. Then nothing was changed. It is 1 if a
//	file can't be read, or written to its end.
//
// Options:
//
//	-n, --dry-run    change nothing, and tell what would be
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/vspawn/vspawn/internal/usage"
)

const synopsis = "vspawn-migrate [-n] [DIRECTORY|DIRECTORY/...]...\n\nOptions:\n" +
	"  -n, --dry-run    change nothing, and tell what would be\n"

func main() {
	os.Exit(run(os.Stdout, os.Stderr, os.Args[1:]))
}

// run is the command.
func run(stdout, stderr io.Writer, args []string) (exit int) {
	err := dispatch(stdout, args)
	if err != nil {
		fmt.Fprintln(stderr, "vspawn-migrate: "+err.Error())
	}
	return usage.Status(err)
}

func dispatch(stdout io.Writer, args []string) error {
	if len(args) == 0 {
		return migrate(stdout, false, nil)
	}
	switch args[0] {
	case "-h", "-help", "--help":
		_, err := io.WriteString(stdout, synopsis)
		return err
	case "-n", "--dry-run":
		return migrate(stdout, true, args[1:])
	}
	return migrate(stdout, false, args)
}
