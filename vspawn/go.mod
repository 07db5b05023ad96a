module github.com/vspawn/vspawn/vspawn

go 1.25.0

require (
	github.com/vspawn/vspawn/asm v0.1.0
	github.com/vspawn/vspawn/internal/testkit v0.1.0
	golang.org/x/sys v0.46.0
)
