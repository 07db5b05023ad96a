//go:build linux

package vspawn

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
)

// A filler makes values of bytes. When they are used up all is zero.
type filler struct {
	bytes  []byte
	closed *os.File
}

func (f *filler) n(n int) int {
	if len(f.bytes) == 0 {
		return 0
	}
	v := int(f.bytes[0]) % n
	f.bytes = f.bytes[1:]
	return v
}

// What breaks programs, and what passes.
var (
	fillNumbers = []int64{0, 1, 2, 3, 4, 7, 8, 19, 20, 64, 65, 511, 1000, 1001, 65536, 1 << 20, 1 << 30, math.MaxInt32, 1 << 31, math.MaxUint32,
		1 << 32, 1<<32 + 1, math.MaxInt64, -1, -2, -20, -1000, math.MinInt32, math.MinInt64}
	fillStrings = []string{"/", "a", "A=1", "", "\x00", "a\x00b", "/proc/self/exe", ".", "tmpfs", strings.Repeat("x", 5000), "\xff\xfe", "Umask", "Files.Path"}
)

// fill gives v, and all that is in it, a value.
func (f *filler) fill(v reflect.Value) {
	number := func() int64 {
		if f.n(4) == 3 {
			return 1 << f.n(64) // a flag
		}
		return fillNumbers[f.n(len(fillNumbers))]
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.n(2) == 1)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(number())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(uint64(number()))
		if f.n(3) == 2 {
			v.SetUint(v.Uint() | uint64(number()))
		}
	case reflect.String:
		v.SetString(fillStrings[f.n(len(fillStrings))])
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), f.n(4), 4))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f.n(4) != 0 {
				f.fill(v.Field(i))
			}
		}
	case reflect.Interface: // a Descriptor
		list := []Descriptor{FD(0), FD(1), FD(2), os.Stderr, f.closed, (*os.File)(nil), FD(-1), FD(1 << 30)}
		v.Set(reflect.ValueOf(list[f.n(len(list))]))
	default:
		panic(v.Type().String())
	}
}

// attr fills some of Attr's fields: with all some refusal would hide the others.
func (f *filler) attr() *Attr {
	a := new(Attr)
	v := reflect.ValueOf(a).Elem()
	for range 1 + f.n(6) {
		f.fill(v.Field(f.n(v.NumField())))
	}
	return a
}

// No input makes Compile panic. What it refuses it names, and what it takes is the same
// plan each time.
func FuzzCompile(f *testing.F) {
	closed, err := os.Open("/")
	if err != nil {
		f.Fatal(err)
	}
	closed.Close()
	rng := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add("/bin/true", "true", "A=1", b)
	}
	f.Add("", "true", "A=1", []byte{})
	f.Add("/bin/true", "\x00", "", []byte{})
	f.Fuzz(func(t *testing.T, path, arg, env string, b []byte) {
		attr := (&filler{b, closed}).attr()
		if attr.Env == nil {
			attr.Env = []string{env}
		}
		plan, err := Compile(path, []string{arg}, attr)
		if err != nil {
			checkRefusal(t, plan, err)
			return
		}
		text := plan.String()
		if again, err := Compile(path, []string{arg}, attr); err != nil || again.String() != text || plan.String() != text {
			t.Errorf("%+v: the plan is\n%s\nand then, %v,\n%s", attr, text, err, again)
		}
		if attr.ExecFD != nil {
			return
		}
		if other, err := plan.For(path, []string{arg}, attr.Env); err != nil || other.String() != text {
			t.Errorf("%+v: the plan is\n%s\nand by For, %v,\n%s", attr, text, err, other)
		}
	})
}

// checkRefusal wants an error that names a field.
func checkRefusal(t *testing.T, plan *Plan, err error) {
	t.Helper()
	var refused *AttrError
	if !errors.As(err, &refused) || plan != nil {
		t.Fatalf("%v, and the plan is %v", err, plan)
	}
	field, _, _ := strings.Cut(refused.Field, "[")
	field, _, _ = strings.Cut(field, ".")
	_, known := reflect.TypeFor[Attr]().FieldByName(field)
	if !known && field != "path" && field != "argv" || refused.Reason == "" || !strings.Contains(err.Error(), refused.Field) {
		t.Errorf("%q names no field, or no reason", err)
	}
}

// The bytes reach every field of Attr, and enough of what they make is taken, and
// refused.
func TestFiller(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	given := map[string]bool{}
	var taken, refused int
	for range 3000 {
		b := make([]byte, 100)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		a := (&filler{bytes: b}).attr()
		v := reflect.ValueOf(*a)
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				given[v.Type().Field(i).Name] = true
			}
		}
		if _, err := Compile("/x", nil, a); err == nil {
			taken++
		} else {
			refused++
		}
	}
	for i := range reflect.TypeFor[Attr]().NumField() {
		if f := reflect.TypeFor[Attr]().Field(i).Name; !given[f] {
			t.Errorf("no case has Attr.%s", f)
		}
	}
	if taken < 300 || refused < 300 {
		t.Errorf("%d are taken, %d refused", taken, refused)
	}
}
