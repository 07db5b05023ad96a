module github.com/vspawn/vspawn/internal/testkit

go 1.25.0

require (
	github.com/vspawn/vspawn/asm v0.1.0
	golang.org/x/sys v0.46.0
)
