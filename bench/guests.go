package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// guestKernel is one that all targets have.
const guestKernel = "6.12"

var speedLine = regexp.MustCompile(`speed: (.+) = ([0-9]+)`)

// guests has TestSpeed measure in the guests of all targets, which the rig boots one after the
// other, and reads what they say.
func guests(e *environment, f *figure) error {
	const top, end = "..", "-" + guestKernel + ".log" // this module lies in the repository
	logs := func() ([]string, error) { return filepath.Glob(filepath.Join(top, "build", "results", "*"+end)) }
	old, err := logs()
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(e.ctx, "make", "qemu-test", "JOBS=1", "KERNELS="+guestKernel, "RUN=^TestSpeed$",
		"VSPAWN_SPEED="+strconv.Itoa(e.rounds))
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make qemu-test: %w: %s", err, out)
	}
	files, err := logs()
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if addSpeeds(f, strings.TrimSuffix(filepath.Base(file), end), text) == 0 {
			return fmt.Errorf("%s says nothing of the speed", file)
		}
	}
	if len(files) == 0 {
		return errors.New("make qemu-test: there is no guest's log")
	}
	return nil
}

// addSpeeds adds what a log says, and gives how much.
func addSpeeds(f *figure, target string, log []byte) (lines int) {
	for line := range bytes.Lines(log) {
		if m := speedLine.FindSubmatch(line); m != nil {
			if micro, err := strconv.ParseFloat(string(m[2]), 64); err == nil {
				f.add(string(m[1]), target, "p50", micro)
				lines++
			}
		}
	}
	return lines
}
