module github.com/vspawn/vspawn/asm/audit

go 1.25.0

require golang.org/x/arch v0.29.0
