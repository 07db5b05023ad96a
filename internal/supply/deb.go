package supply

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// errFound ends the reading of a package.
var errFound = errors.New("found")

// inPackage hands use the regular files of a package, by their absolute names,
// until it returns errFound. A package that can't be read is an unserved, and so is
// what use gives as one: another suite's may be better. Other errors of use's are
// this machine's, such as a full disk.
func inPackage(ctx context.Context, deb string, use func(name string, r io.Reader) error) error {
	dctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := command(dctx, syscall.SIGKILL, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var broken error // the package, rather than what is made of it
	for r := tar.NewReader(out); err == nil && broken == nil; {
		var h *tar.Header
		if h, broken = r.Next(); broken == nil && h.Typeflag == tar.TypeReg {
			file := &inside{r: r}
			err = use(path.Clean("/"+h.Name), file)
			broken = file.err
		}
	}
	switch broken {
	case io.EOF:
		_, broken = io.Copy(io.Discard, out) // dpkg-deb writes more than tar reads
		broken = errors.Join(broken, cmd.Wait())
	case io.ErrUnexpectedEOF:
		cmd.Wait() // it ends by itself, and may say why
	default:
		cancel() // the rest of the package is of no use: don't wait for it
		cmd.Wait()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case broken != nil:
		if said := firstLine(stderr.String()); said != "" {
			broken = errors.New(said)
		}
		return &unserved{fmt.Sprintf("%s can't be unpacked: %v", path.Base(deb), broken), false}
	case err == nil || err == errFound:
		return nil
	}
	return fmt.Errorf("%s: %w", path.Base(deb), err)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// inside is a file in a package. It keeps the error of reading it, which its reader
// can't tell from one of writing.
type inside struct {
	r   io.Reader
	err error
}

func (p *inside) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

// unpack runs a program that unpacks what is in a package. That it can't is an
// unserved, unless it has no room to unpack to.
func unpack(cmd *exec.Cmd, what string) error {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	err := cmd.Run()
	if err == nil || cmd.ProcessState == nil {
		return err
	}
	said := stderr.String()
	err = fmt.Errorf("%s: %s: %w: %s", what, filepath.Base(cmd.Path), err, firstLine(said))
	for _, local := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EIO,
		syscall.ENOMEM} {
		if strings.Contains(strings.ToLower(said), local.Error()) {
			return err
		}
	}
	return &unserved{err.Error(), false}
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
