package nommu

import (
	"encoding/binary"
	"fmt"
)

var byteOrder = binary.LittleEndian

// textAddresses are those that a program is linked at. They differ in many bits,
// so that an address that is stored in parts, or shifted, shows.
var textAddresses = [...]uint64{0x0100_1000, 0x0235_1000, 0x7ec8_1000}

// relocations compares the same program, linked at several addresses, and gives
// the addresses of the words that hold an address, counted from the program's
// beginning. Any difference of another kind is an error.
func relocations(links []*program) ([]uint64, error) {
	first := links[0]
	for _, l := range links[1:] {
		if err := sameShape(first, l); err != nil {
			return nil, err
		}
	}
	var found []uint64
	for i, s := range first.segments {
		// The segment in each of the other links, and its distance.
		others := make([][]byte, 0, len(links)-1)
		distances := make([]uint64, 0, len(links)-1)
		for _, l := range links[1:] {
			others = append(others, l.segments[i].data)
			distances = append(distances, l.base-first.base)
		}
		start := 0
		if i == 0 {
			start = int(first.headers)
		}
		for at := start; at < len(s.data); at += wordSize {
			address, err := isAddress(s.data, others, distances, at)
			if err != nil {
				return nil, fmt.Errorf("at address %#x of the program: %w", s.addr+uint64(at), err)
			}
			if address {
				found = append(found, s.addr-first.base+uint64(at))
			}
		}
	}
	return found, nil
}

// isAddress tells whether the word at an offset differs from each other link's
// as an address does.
func isAddress(data []byte, others [][]byte, distances []uint64, at int) (bool, error) {
	if at+wordSize > len(data) {
		for _, o := range others {
			if string(o[at:]) != string(data[at:]) {
				return false, fmt.Errorf("the last bytes depend on the address")
			}
		}
		return false, nil
	}
	word := byteOrder.Uint64(data[at:])
	same, moved := 0, 0
	for i, o := range others {
		switch byteOrder.Uint64(o[at:]) {
		case word:
			same++
		case word + distances[i]:
			moved++
		}
	}
	switch len(others) {
	case same:
		return false, nil
	case moved:
		return true, nil
	}
	return false, fmt.Errorf("%#x depends on where the program is linked, but is no address: the program cannot be relocated", word)
}

// sameShape checks that two links differ in nothing but addresses and contents.
func sameShape(a, b *program) error {
	if len(a.segments) != len(b.segments) || a.headers != b.headers || a.eflags != b.eflags {
		return fmt.Errorf("two links of one program have other headers")
	}
	distance := b.base - a.base
	if b.entry-a.entry != distance {
		return fmt.Errorf("two links of one program have other entry points: %#x and %#x", a.entry, b.entry)
	}
	for i, s := range a.segments {
		t := b.segments[i]
		if t.addr-s.addr != distance || t.memory != s.memory || len(t.data) != len(s.data) || t.flags != s.flags {
			return fmt.Errorf("two links of one program have other segments at %#x and %#x", s.addr, t.addr)
		}
	}
	return nil
}
