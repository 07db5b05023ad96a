package nommu

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestPackTable(t *testing.T) {
	for _, c := range []struct {
		addrs []uint64
		want  []uint64
	}{
		{nil, nil},
		{[]uint64{0x10}, []uint64{0x10}},
		{[]uint64{0x10, 0x18, 0x28}, []uint64{0x10, 0b1011}},
		{[]uint64{0x10, 0x18 + 62*8}, []uint64{0x10, 1<<63 | 1}},
		{[]uint64{0x10, 0x18 + 63*8}, []uint64{0x10, 0x18 + 63*8}},
		{[]uint64{0x10, 0x18, 0x18 + 63*8}, []uint64{0x10, 0b11, 0b11}},
	} {
		var want []byte
		for _, w := range c.want {
			want = binary.LittleEndian.AppendUint64(want, w)
		}
		if got := packTable(c.addrs); !slices.Equal(got, want) {
			t.Errorf("%#x: got %#x, want %#x", c.addrs, got, want)
		}
	}
}

func TestUnpackTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, density := range []float64{0.001, 0.02, 0.5, 1} {
		var addrs []uint64
		for at := uint64(0); at < 1<<16; at += wordSize {
			if r.Float64() < density {
				addrs = append(addrs, at)
			}
		}
		got, err := unpackTable(packTable(addrs), 1<<16)
		if err != nil || !slices.Equal(got, addrs) {
			t.Errorf("%d addresses, density %g: got %d, %v", len(addrs), density, len(got), err)
		}
	}
}

func TestUnpackBadTable(t *testing.T) {
	for name, entries := range map[string][]uint64{
		"begins with a bitmap": {3},
		"not aligned":          {4},
		"beyond the limit":     {0x1000},
		"bitmap beyond it":     {0xff8, 3},
		"out of order":         {0x10, 0x8},
		"overflow":             {1<<64 - 8, 3},
	} {
		var table []byte
		for _, e := range entries {
			table = binary.LittleEndian.AppendUint64(table, e)
		}
		if addrs, err := unpackTable(table, 0x1000); err == nil {
			t.Errorf("%s: got %#x", name, addrs)
		}
	}
	if _, err := unpackTable(make([]byte, 7), 0x1000); err == nil {
		t.Error("7 bytes: no error")
	}
}
