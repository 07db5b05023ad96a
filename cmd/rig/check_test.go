package main

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/arch"
)

// TestCheckSteps wants the whole of what make test promises.
func TestCheckSteps(t *testing.T) {
	platforms, err := linuxPlatforms(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range checkSteps([]string{"asm"}, append(platforms, otherSystems...), []string{"MISSING=x"}) {
		all = append(all, s.String())
	}
	wanted := []string{
		"gofmt -l asm",
		"go vet work",
		"GOOS=linux GOARCH=s390x CGO_ENABLED=0 go vet ./asm ./vspawn ./vspawn/exec",
		"GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go vet ./asm ./vspawn ./vspawn/exec",
		"MISSING=x go test -timeout=1h work",
		"go run ./tests/osexec os/exec",
		"GOARCH=s390x CGO_ENABLED=0 G_SLICE=always-malloc go test -timeout=1h -exec qemu-s390x ./vspawn/exec",
		"CGO_ENABLED=1 go test -timeout=1h -race ./asm ./vspawn ./vspawn/exec ./tests",
	}
	for _, a := range arch.WithStubs() {
		if a.GOARCH != runtime.GOARCH {
			wanted = append(wanted, "GOARCH="+a.GOARCH+" CGO_ENABLED=0 G_SLICE=always-malloc go test -timeout=1h -exec qemu-"+a.QEMU+
				" ./asm ./vspawn ./vspawn/exec ./tests")
		}
	}
	for _, want := range wanted {
		if !slices.Contains(all, want) {
			t.Errorf("no step %q in:\n%s", want, strings.Join(all, "\n"))
		}
	}
}

func TestStepFails(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, tt := range []struct {
		step step
		want string
	}{
		{step{args: []string{"true"}}, ""},
		{step{args: []string{"false"}}, "exit status 1"},
		{step{args: []string{"echo", "a.go"}}, ""},
		{step{args: []string{"echo", "a.go"}, quiet: true}, "a.go"},
		{step{args: []string{"sh", "-c", "exit $X"}, env: []string{"X=3"}}, "exit status 3"},
	} {
		got := ""
		if err := tt.step.run(t.Context(), null); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.step, got, tt.want)
		}
	}
}
