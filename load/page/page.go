// Package page encodes the values of a Parquet page: what stands in it before it is compressed. It knows nothing of
// files, columns or Arrow.
//
//	levels, numbers of a dictionary's entries   AppendHybrid
//	integers by their differences               AppendDelta
//	texts by what they share with the last      AppendDeltaTexts
//
// It is here for its speed alone: arrow-go's encoders take values one by one, through interfaces. What it writes is
// byte for byte what arrow-go 18 writes for the same values, which the tests hold it to. Names of sections are those of
// Encodings.md in apache/parquet-format.
//
// Each function appends to dst and returns it. What it is handed it neither keeps nor checks: values that don't fit
// their width come out wrong.
package page

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	// group is what a bit-packed run has a multiple of.
	group = 8
	// maxGroups is what a run's header of one byte can tell: 7 bits, one of which says what kind of run it is.
	maxGroups = 63
)

// AppendHybrid encodes values of width bits each (at most 32) as runs of a value that repeats and of values packed bit
// to bit: "Run Length Encoding / Bit-Packing Hybrid (RLE = 3)". A value that comes 8 times over, counted from where a
// group of 8 would begin, is a run that repeats; so is a tail of one value alone. What is missing of the last group of
// 8 is 0. The length before it, which levels have, and the width before it, which numbers of entries have, are the
// caller's.
func AppendHybrid[T int16 | int32](dst []byte, values []T, width int) []byte {
	for len(values) > 0 {
		if n := repeats(values); n >= group || n == len(values) {
			dst = binary.AppendUvarint(dst, uint64(n)<<1)
			v := uint32(values[0])
			for range (width + 7) / 8 {
				dst = append(dst, byte(v))
				v >>= 8
			}
			values = values[n:]
			continue
		}
		n := group
		for n < len(values) && n < maxGroups*group && (len(values)-n < group || repeats(values[n:n+group]) < group) {
			n += group
		}
		dst = append(dst, byte(n/group<<1|1))
		whole := min(n, len(values)/group*group)
		dst = appendPacked(dst, values[:whole], width)
		if whole < n {
			var last [group]T
			copy(last[:], values[whole:])
			dst = appendPacked(dst, last[:], width)
		}
		values = values[min(n, len(values)):]
	}
	return dst
}

// repeats counts how often the first value comes before another one does.
func repeats[T int16 | int32](values []T) int {
	n := 1
	for n < len(values) && values[n] == values[0] {
		n++
	}
	return n
}

// Of a block of differences, and of the parts of it that have a width each.
const (
	block     = 128
	miniBlock = 32
)

// AppendDelta encodes integers as the first of them and the differences from each to the next, which wrap around:
// "Delta Encoding (DELTA_BINARY_PACKED = 5)". Differences of a block are told from the least of them, and have as many
// bits as the largest of their part of the block needs.
func AppendDelta[T int32 | int64](dst []byte, values []T) []byte {
	dst = binary.AppendUvarint(dst, block)
	dst = binary.AppendUvarint(dst, block/miniBlock)
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return append(dst, 0)
	}
	dst = binary.AppendVarint(dst, int64(values[0]))
	var deltas [block]int64
	for rest := values; len(rest) > 1; {
		n := min(block, len(rest)-1)
		least := int64(rest[1] - rest[0])
		for i := range n {
			deltas[i] = int64(rest[i+1] - rest[i])
			least = min(least, deltas[i])
		}
		rest = rest[n:]
		dst = appendBlock(dst, deltas[:n], least)
	}
	return dst
}

func appendBlock(dst []byte, deltas []int64, least int64) []byte {
	dst = binary.AppendVarint(dst, least)
	widths := len(dst)
	dst = append(dst, make([]byte, block/miniBlock)...) // 0 for parts that nothing is left for
	var packed [miniBlock]uint64
	for part := 0; len(deltas) > 0; part++ {
		n := min(miniBlock, len(deltas))
		clear(packed[n:])
		all := uint64(0)
		for i, d := range deltas[:n] {
			packed[i] = uint64(d) - uint64(least)
			all |= packed[i]
		}
		deltas = deltas[n:]
		width := bits.Len64(all)
		dst[widths+part] = byte(width)
		dst = appendPacked(dst, packed[:], width)
	}
	return dst
}

// AppendDeltaTexts encodes texts by how many bytes each shares with the one before it, and what follows these: "Delta
// Strings (DELTA_BYTE_ARRAY = 7)", the rests being "Delta-length byte array (DELTA_LENGTH_BYTE_ARRAY = 6)". Text i is
// data[ends[i]:ends[i+1]].
func AppendDeltaTexts(dst, data []byte, ends []int64) []byte {
	n := len(ends) - 1
	lengths := make([]int32, 2*n)
	shared, rests := lengths[:n], lengths[n:]
	var last []byte
	for i := range n {
		text := data[ends[i]:ends[i+1]]
		same := 0
		for most := min(len(text), len(last)); same < most && text[same] == last[same]; {
			same++
		}
		shared[i], rests[i] = int32(same), int32(len(text)-same)
		last = text
	}
	dst = AppendDelta(dst, shared)
	dst = AppendDelta(dst, rests)
	total := 0
	for _, length := range rests {
		total += int(length)
	}
	dst = slices.Grow(dst, total)
	for i := range n {
		dst = append(dst, data[ends[i]+int64(shared[i]):ends[i+1]]...)
	}
	return dst
}

// appendPacked packs values of width bits each, the lowest bit of the first into the lowest of the first byte. Together
// they have whole bytes.
func appendPacked[T int16 | int32 | uint64](dst []byte, values []T, width int) []byte {
	var acc uint64 // the bits that are yet to be written, the first in the lowest
	n := 0         // how many
	for _, v := range values {
		acc |= uint64(v) << n
		if n += width; n >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			n -= 64
			acc = uint64(v) >> (width - n)
		}
	}
	for ; n > 0; n -= 8 {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}
