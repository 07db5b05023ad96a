package nommu

import "github.com/vspawn/vspawn/internal/usage"

// InputError is an error that the caller can mend: a flag that can't be had, a
// program that needs cgo, a file that is no program for this kernel, a Go
// release with other text in its runtime. A command answers it with exit status
// 2. Packages initramfs and qemu give the same type.
type InputError = usage.Error

func inputErrorf(format string, args ...any) error {
	return usage.Errorf("nommu: "+format, args...)
}
