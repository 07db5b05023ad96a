// Package wire holds what host and guest tell each other: the plan that an
// image carries, and the records that come back over the event port.
package wire

import (
	"fmt"
	"slices"
	"time"
)

const (
	// Port is the name of the virtio-serial port that carries the records.
	Port = "vspawn"
	// PlanPath is where a test image holds its Plan, as JSON.
	PlanPath = "rig/plan.json"
	// ShardEnv is the variable of PID 1, and so a kernel argument, that says
	// which part of the tests a guest runs, as "i/n" from 1; without it all.
	ShardEnv = "RIG_SHARD"
	// MaxOutput is how many bytes of output one record may carry.
	MaxOutput = 32 << 10
	// MaxLine is how long a record may be on its way. The host reads no further.
	MaxLine = 1 << 20
	// ModulesDir is where an image holds the kernel's modules that the agent
	// loads, in the order of their names, before it looks for the port.
	ModulesDir = "rig/modules"
	// HereEnv is the variable of PID 1 with which the agent does nothing but say
	// Here on the console.
	HereEnv = "RIG_HERE"
	Here    = "guest: here"
	// ShellEnv is the variable of PID 1 with which the agent starts a shell on the
	// console, and no tests.
	ShellEnv = "RIG_SHELL"
	// Patience is how long the agent waits for a port that does not appear,
	// before it says so.
	Patience = 8 * time.Second
	// NoPort begins the line of the console in which the agent says that there
	// is no port to report over.
	NoPort = "guest: no event port: "
)

// A Plan says what the guest shall run.
type Plan struct {
	Target   string
	Binaries []Binary
	Env      []string      // for all binaries
	Run      string        // chooses tests as -test.run does; "" is all
	Idle     time.Duration // a test binary silent for longer hangs
}

// A Binary is one test binary in the image.
type Binary struct {
	Name string // as the results show it
	Path string
	Dir  string // working directory
	Env  []string
	Args []string
	Skip []string // tests that Args have it skip
	// Together says that its tests may need each other, so that one part has all.
	Together bool
}

// Without leaves out of names those that Args have it skip.
func (b *Binary) Without(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(b.Skip, name) })
}

// Kind is what a Record tells.
type Kind string

// The kinds, in the order of a run. List comes for each binary before the first
// Start; a binary of which no test was chosen gets no Start.
const (
	Boot   Kind = "boot"   // Kernel, Uptime
	List   Kind = "list"   // Binary, Tests, More
	Start  Kind = "start"  // Binary
	Output Kind = "output" // Binary, Data
	Hung   Kind = "hung"   // Binary: it was silent for Status and is being killed
	End    Kind = "end"    // Binary, Status, Leaked
	Broken Kind = "broken" // Status: the agent itself failed
	Done   Kind = "done"   // Ran: the closing record
)

// A Record is one event from the guest.
type Record struct {
	Kind   Kind
	Binary string        `json:",omitempty"`
	Kernel string        `json:",omitempty"`
	Uptime time.Duration `json:",omitempty"`
	Tests  []string      `json:",omitempty"` // all that the binary has, by name
	More   bool          `json:",omitempty"` // of Tests comes in another record
	Data   []byte        `json:",omitempty"`
	Status string        `json:",omitempty"` // "" is exit status 0
	Leaked []string      `json:",omitempty"` // processes that outlived the binary
	Ran    int           `json:",omitempty"` // binaries started
}

// What one record holds at most of what a test can make as long as it likes. JSON
// may take six bytes for one.
const (
	maxTests  = 128 << 10 // of names, which take one byte for one
	maxStatus = 16 << 10
	maxLeaked = 20
	maxName   = 4 << 10
)

// Fit makes of a record those that are short enough to be sent: a long list
// becomes several, and what is too long otherwise is cut, and says so.
func Fit(r Record) []Record {
	r.Status = clip(r.Status, maxStatus)
	if n := len(r.Leaked); n > maxLeaked {
		r.Leaked = append(r.Leaked[:maxLeaked:maxLeaked], fmt.Sprintf("%d more", n-maxLeaked))
	}
	for i, s := range r.Leaked {
		if len(s) > maxName {
			r.Leaked = append([]string(nil), r.Leaked...)
			r.Leaked[i] = clip(s, maxName)
		}
	}
	var all []Record
	for size, i := 0, 0; i < len(r.Tests); i++ {
		if size += len(r.Tests[i]); size > maxTests && i > 0 {
			part := r
			part.Tests, part.More = r.Tests[:i], true
			all = append(all, part)
			r.Tests, size, i = r.Tests[i:], 0, -1
		}
	}
	return append(all, r)
}

// clip takes out the middle of a text that is longer than n bytes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return fmt.Sprintf("%s … %d bytes left out … %s", s[:n/2], len(s)-n, s[len(s)-n/2:])
}
