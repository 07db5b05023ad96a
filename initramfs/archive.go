package initramfs

import (
	"compress/gzip"
	"io"
	"os"
	"path"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/uio/uio"
)

// File is one file of the overlay.
type File struct {
	Path string // in the guest, such as /tests/asm.test
	Host string // file to copy, or
	Data []byte // the content, if Host is empty
	Mode uint32 // permission bits; 0 means 0o755
}

// tree is what every image holds beside its commands. Init makes the rest.
var tree = []cpio.Record{
	cpio.Directory("bbin", 0o755),
	cpio.Directory("bin", 0o755),
	cpio.Directory("dev", 0o755),
	cpio.CharDev("dev/console", 0o600, 5, 1), // the kernel opens it for init's stdin, stdout and stderr
	cpio.CharDev("dev/null", 0o666, 1, 3),
	cpio.Directory("etc", 0o755),
	cpio.StaticFile("etc/group", "root:x:0:\n", 0o644), // id fails without it
	cpio.StaticFile("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644),
	cpio.Directory("proc", 0o755),
	cpio.Directory("root", 0o700),
	cpio.Directory("sys", 0o755),
	cpio.Directory("tmp", 0o1777),
	cpio.Directory("var", 0o755),
}

// The base is made once and read often. The overlay is made for each run.
const (
	baseLevel    = gzip.BestCompression
	overlayLevel = gzip.NoCompression
)

// overlay turns files into records, with the directories that the base lacks:
// the kernel drops a file whose directory is not there.
func overlay(files []File) ([]cpio.Record, error) {
	isDir := map[string]bool{} // false for a file of the overlay
	for _, r := range tree {
		if r.Mode&cpio.S_IFMT == cpio.S_IFDIR {
			isDir[r.Name] = true
		}
	}
	var records []cpio.Record
	for _, f := range files {
		name := cpio.Normalize(f.Path)
		if !path.IsAbs(f.Path) || name == "." || path.Clean(f.Path) != f.Path {
			return nil, inputErrorf("file %q: the path in the guest must be absolute and clean", f.Path)
		}
		for i, c := range name {
			if c != '/' {
				continue
			}
			if dir, there := isDir[name[:i]]; !there {
				isDir[name[:i]] = true
				records = append(records, cpio.Directory(name[:i], 0o755))
			} else if !dir {
				return nil, inputErrorf("file %q: /%s is not a directory", f.Path, name[:i])
			}
		}
		if _, there := isDir[name]; there {
			return nil, inputErrorf("file %q is there already, as a file or as a directory", f.Path)
		}
		isDir[name] = false
		r, err := record(name, f)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func record(name string, f File) (cpio.Record, error) {
	mode := uint64(f.Mode)
	if mode == 0 {
		mode = 0o755
	}
	if mode&^0o7777 != 0 {
		return cpio.Record{}, inputErrorf("file %q: mode %#o is more than permission bits", f.Path, mode)
	}
	r := cpio.StaticFile(name, string(f.Data), mode)
	if f.Host == "" {
		return r, nil
	}
	fi, err := os.Stat(f.Host)
	if err != nil {
		return cpio.Record{}, inputErrorf("file %q: %w", f.Path, err)
	}
	if !fi.Mode().IsRegular() {
		return cpio.Record{}, inputErrorf("file %q: %s is not a regular file", f.Path, f.Host)
	}
	r.FileSize = uint64(fi.Size())
	r.ReaderAt = uio.NewLazyFile(f.Host)
	return r, nil
}

// writeArchive writes records as one cpio archive in one gzip member. No times,
// owners or inode numbers go in: the records have none.
func writeArchive(w io.Writer, records []cpio.Record, level int) error {
	z, err := gzip.NewWriterLevel(w, level)
	if err != nil {
		return err
	}
	a := cpio.Newc.Writer(z)
	for _, r := range records {
		if err := a.WriteRecord(r); err != nil {
			return err
		}
	}
	if err := cpio.WriteTrailer(a); err != nil {
		return err
	}
	return z.Close()
}
