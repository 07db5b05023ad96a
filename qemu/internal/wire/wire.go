// Package wire holds what host and guest tell each other: the plan that an
// image carries, and the records that come back over the event port.
package wire

import "time"

const (
	// Port is the name of the virtio-serial port that carries the records.
	Port = "vspawn"
	// PlanPath is where a test image holds its Plan, as JSON.
	PlanPath = "rig/plan.json"
	// ShardEnv is the variable of PID 1, and so a kernel argument, that says
	// which part of the tests a guest runs, as "i/n" from 1; without it all.
	ShardEnv = "RIG_SHARD"
	// MaxOutput is how many bytes one record may carry: the host reads
	// records as lines of at most 64 KiB, and base64 takes a third more.
	MaxOutput = 32 << 10
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
}

// Kind is what a Record tells.
type Kind string

// The kinds, in the order of a run. List comes once for each binary before the
// first Start; a binary of which no test was chosen gets no Start.
const (
	Boot   Kind = "boot"   // Kernel, Uptime
	List   Kind = "list"   // Binary, Tests
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
	Tests  []string      `json:",omitempty"` // chosen tests, by name
	Data   []byte        `json:",omitempty"`
	Status string        `json:",omitempty"` // "" is exit status 0
	Leaked []string      `json:",omitempty"` // processes that outlived the binary
	Ran    int           `json:",omitempty"` // binaries started
}
