//go:build linux

package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// choices are the bytes that a case is made of. When they are used up all is 0, which
// stands for what is simple.
type choices []byte

// n is a number below n.
func (c *choices) n(n int) int {
	if len(*c) == 0 {
		return 0
	}
	v := int((*c)[0]) % n
	*c = (*c)[1:]
	return v
}

// one is true once in n times.
func (c *choices) one(n int) bool { return c.n(n) == n-1 }

// A bench is what cases are made of, in one process.
type bench struct {
	Dir     string // with the files a and b, and the directory sub, which has an a too
	Program string // that sleeps
	Numbers []int  // that descriptors have, if they are free

	Terminal  string // of a pseudo-terminal whose master is open; "" is none
	Namespace string // a UTS namespace to enter; "" is none, or no right to
	Users     bool   // there are user namespaces
	PIDs      bool   // we may make PID namespaces
	Landlock  bool
	BareExec  bool // see bareExec
}

// A setting is what the parent of a case is like, where it is not this process.
type setting struct {
	Bench  bench
	Closed []int // of 0, 1 and 2
	Limit  uint64
	Spare  int // at most so many has Reserve set aside

	Inputs [][]byte

	reserves bool
}

// settings are those that a test or a fuzzer has cases in, beside this process as it is.
var settings = []setting{
	{},
	{Closed: []int{0, 1, 2}},
	{Closed: []int{1}, Spare: 12},
	{Limit: 64},
	{Limit: 40, Closed: []int{0, 2}, Spare: 5},
	{Limit: 256, Spare: 40},
}

// newBench makes what cases need.
func newBench(t testing.TB) *bench {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Dir: dir, Program: tiny.Sleep(t)}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "sub/a"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.Terminal = must(os.Readlink(fmt.Sprintf("/proc/self/fd/%d", terminal(t))))
	if hasCapability(unix.CAP_SYS_ADMIN) {
		b.Namespace = fmt.Sprintf("/proc/%d/ns/uts", waiting(t, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS}).Pid())
		b.PIDs = true
	}
	b.Users = noUserNamespaces() == nil
	_, err = landlockVersion()
	b.Landlock, b.BareExec = err == nil, bareExec()
	b.Numbers = []int{20, 21, 22, 23, 24, 25, 50, 51, 99, 300, 301}
	return b
}

// bareExec tells whether a program that is a descriptor can be executed also where the
// library can't give it a name below /proc: see ExecFD about TOMOYO.
func bareExec() bool {
	_, err := os.Stat("/dev/fd")
	return err == nil || newEnough(6, 12)
}

// run has the cases of a setting in a process of their own.
func (s setting) run(b *bench, inputs ...[]byte) error {
	s.Bench, s.Inputs = *b, inputs
	s.Bench.Numbers = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 21, 22, 38, 39, 62, 63, 254, 255, 300, 301}
	if s.Limit > 0 {
		for n := range s.Bench.Numbers {
			if uint64(s.Bench.Numbers[n]) >= s.Limit {
				s.Bench.Numbers = s.Bench.Numbers[:n]
				break
			}
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	cmd := descriptorsHelper.Command()
	cmd.Stdin = strings.NewReader(string(text))
	cmd.Stderr = nil
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("with %v closed, a limit of %d, up to %d reserved: %w: %s", s.Closed, s.Limit, s.Spare, err, out)
	}
	return nil
}

var descriptorsHelper = helper.New("descriptors", func([]string) int {
	var s setting
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		panic(err)
	}
	const said = 950 // where no case has anything
	err := unix.Dup3(2, said, unix.O_CLOEXEC)
	for fd := 3; fd < said; fd++ { // those of a fuzzer's worker: ours are all close-on-exec
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
	to := os.NewFile(said, "said")
	if err == nil {
		err = debug.SetCrashOutput(to, debug.CrashOptions{}) // 2 will be another file
	}
	for i, input := range s.Inputs {
		if err == nil {
			err = s.reserve(input)
		}
		if err == nil && i == 0 { // behind the first Reserve, as Closed and Limit would be in a program
			err = s.restrict()
		}
		if err == nil {
			_, err = runCase(&s.Bench, input)
		}
	}
	if err != nil {
		fmt.Fprint(to, err)
		return 1
	}
	return 0
})

// restrict has the process be as the setting says.
func (s *setting) restrict() (err error) {
	for _, fd := range s.Closed {
		err = errors.Join(err, unix.Close(fd))
	}
	if s.Limit > 0 {
		err = errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: s.Limit, Max: s.Limit}))
	}
	return err
}

// reserve sets any number of descriptors aside before the first case, and one more now
// and then, as the ends of the inputs say.
func (s *setting) reserve(input []byte) error {
	end := choices(input[max(len(input)-1, 0):])
	n := 0
	switch {
	case !s.reserves:
		n = end.n(s.Spare + 1)
	case end.one(8):
		n = min(1, s.Spare)
	}
	s.reserves = true
	s.Spare -= n
	return vspawn.Reserve(n)
}

// cases is how many a test has: fewer where it is repeated elsewhere.
func cases(n int) int {
	if n = helper.Rounds(n); os.Getenv(elsewhereEnv) != "" {
		n = (n + 2) / 3
	}
	return n
}

// A child has the descriptors that the model says, or none is started, and the error is
// the one that the model says; its parent has the same as before.
func TestDescriptors(t *testing.T) {
	once(t)
	helper.SkipEmulated(t, "descriptor table without the emulator's own files")
	descriptorsHelper.Argv()
	b := newBench(t)
	t.Run("here", func(t *testing.T) {
		outcomes := map[string]int{}
		for _, input := range inputs(0, cases(300)) {
			outcome, err := runCase(b, input)
			if err != nil {
				t.Error(err)
			}
			outcomes[outcome]++
		}
		t.Log(outcomes)
		if outcomes["child"] < cases(300)/2 || outcomes["failure"] == 0 || outcomes["refusal"] == 0 {
			t.Errorf("the cases are no good: %v", outcomes)
		}
	})
	for i, s := range settings {
		t.Run(fmt.Sprintf("%v closed, limit %d, up to %d reserved", s.Closed, s.Limit, s.Spare), func(t *testing.T) {
			if err := s.run(b, inputs(i+1, cases(150))...); err != nil {
				t.Error(err)
			}
		})
	}
}

// inputs are n random cases.
func inputs(seed, n int) (list [][]byte) {
	rng := rand.New(rand.NewPCG(13, uint64(seed)))
	for range n {
		input := make([]byte, 96)
		for i := range input {
			input[i] = byte(rng.Uint32())
		}
		list = append(list, input)
	}
	return list
}

// Whatever a child is to have, it has it.
func FuzzDescriptors(f *testing.F) {
	helper.SkipEmulated(f, "descriptor table without the emulator's own files")
	b := newBench(f)
	for i, input := range inputs(100, 8) {
		f.Add(byte(i), input)
	}
	const every = 16 // in a process of its own, which takes longer
	f.Fuzz(func(t *testing.T, where byte, input []byte) {
		err := error(nil)
		if where%every == every-1 {
			err = settings[int(where/every)%len(settings)].run(b, input)
		} else {
			_, err = runCase(b, input)
		}
		if err != nil {
			t.Error(err)
		}
	})
}
