package supply

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"syscall"
)

// errFound ends the reading of a package.
var errFound = errors.New("found")

// inPackage hands use the regular files of a package, by their absolute names,
// until it returns errFound.
func inPackage(ctx context.Context, deb string, use func(name string, r io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := command(ctx, syscall.SIGKILL, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for r := tar.NewReader(out); err == nil; {
		var h *tar.Header
		if h, err = r.Next(); err == nil && h.Typeflag == tar.TypeReg {
			err = use(path.Clean("/"+h.Name), r)
		}
	}
	if err == io.EOF {
		_, err = io.Copy(io.Discard, out) // dpkg-deb writes more than tar reads
		return errors.Join(err, cmd.Wait())
	}
	// The rest of the package is of no use: don't wait for it.
	cancel()
	cmd.Wait()
	if err == errFound {
		return nil
	}
	return fmt.Errorf("%s: %w", path.Base(deb), err)
}

// save writes a file that is not there yet.
func save(file string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
