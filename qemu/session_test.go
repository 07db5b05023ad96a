package qemu

import (
	"testing"
)

// What nobody takes yet is kept, in its order.
func TestUnbounded(t *testing.T) {
	in := make(chan int)
	out := unbounded(in)
	for i := range 1000 {
		in <- i
	}
	close(in)
	n := 0
	for v := range out {
		if v != n {
			t.Fatalf("value %d is %d", n, v)
		}
		n++
	}
	if n != 1000 {
		t.Errorf("%d values of 1000", n)
	}
}
