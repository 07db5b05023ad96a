package nommu

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The table of the words to relocate has the form of the ELF gABI's SHT_RELR. An
// even entry is the address of such a word. Each bit but the lowest of an odd
// entry is for one of the 63 words that follow those told so far, and says
// whether it is one too. It takes a byte or two where a plain list took eight.

const (
	wordSize   = 8
	bitmapBits = 63
)

// packTable gives the table for addresses, which must be in order, and multiples
// of eight.
func packTable(addrs []uint64) []byte {
	var table []byte
	for i := 0; i < len(addrs); {
		table = binary.LittleEndian.AppendUint64(table, addrs[i])
		next := addrs[i] + wordSize
		for i++; i < len(addrs); next += bitmapBits * wordSize {
			var bitmap uint64
			for i < len(addrs) && addrs[i]-next < bitmapBits*wordSize {
				bitmap |= 1 << ((addrs[i]-next)/wordSize + 1)
				i++
			}
			if bitmap == 0 {
				break
			}
			table = binary.LittleEndian.AppendUint64(table, bitmap|1)
		}
	}
	return table
}

// unpackTable gives the addresses of a table. None is limit or more, or out of
// order.
func unpackTable(table []byte, limit uint64) ([]uint64, error) {
	if len(table)%wordSize != 0 {
		return nil, fmt.Errorf("the relocation table has %d bytes, no multiple of %d", len(table), wordSize)
	}
	var addrs []uint64
	next := uint64(0)
	add := func(addr uint64) error {
		if addr < next || addr >= limit || limit-addr < wordSize {
			return fmt.Errorf("the relocation table names address %#x, outside of the program or out of order", addr)
		}
		addrs = append(addrs, addr)
		return nil
	}
	for first := true; len(table) > 0; first, table = false, table[wordSize:] {
		entry := binary.LittleEndian.Uint64(table)
		if entry&1 == 0 {
			if entry%wordSize != 0 {
				return nil, fmt.Errorf("the relocation table names address %#x, which is not aligned", entry)
			}
			if err := add(entry); err != nil {
				return nil, err
			}
			next = entry + wordSize
			continue
		}
		if first {
			return nil, errors.New("the relocation table begins with a bitmap")
		}
		for bit := range uint64(bitmapBits) {
			if entry>>(bit+1)&1 == 0 {
				continue
			}
			if err := add(next + bit*wordSize); err != nil {
				return nil, err
			}
		}
		next += bitmapBits * wordSize
	}
	return addrs, nil
}
