//go:build !race

package vspawn

const raceEnabled = false
