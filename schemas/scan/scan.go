// Package scan reads JSON where it lies. Every text must be followed by Padding zeros (see Pad): a zero is no byte of
// JSON outside of a string nor a plain one within it, so that no loop has to look for the end. Functions take the
// position of what they read and return the one behind it; -1 says that the bytes are not JSON, or nest too deeply.
package scan

import (
	"encoding/binary"
	"math/bits"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Padding is longer than any load or literal that is compared beyond the byte that is looked at.
const Padding = 32

var zeros [Padding]byte

// Pad appends the padding to b, whose bytes behind its length are overwritten.
func Pad(b []byte) []byte { return append(b, zeros[:]...) }

// Padded is b with its padding: b itself where zeros lie behind its length, as with one that was padded before, else a
// copy.
func Padded(b []byte) []byte {
	if n := len(b) + Padding; n <= cap(b) && [Padding]byte(b[len(b):n]) == zeros {
		return b[:n]
	}
	return Pad(append(make([]byte, 0, len(b)+Padding), b...))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Number returns the end of the number at i. Unlike the others it also works without padding.
func Number(b []byte, i int) int {
	n := len(b)
	if i < n && b[i] == '-' {
		i++
	}
	switch {
	case i >= n || !isDigit(b[i]):
		return -1
	case b[i] == '0':
		i++
	default:
		for i < n && isDigit(b[i]) {
			i++
		}
	}
	if i < n && b[i] == '.' {
		i++
		if i >= n || !isDigit(b[i]) {
			return -1
		}
		for i < n && isDigit(b[i]) {
			i++
		}
	}
	if i < n && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < n && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i >= n || !isDigit(b[i]) {
			return -1
		}
		for i < n && isDigit(b[i]) {
			i++
		}
	}
	return i
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the bytes of x that end a run of plain text within a string: the quote, the backslash, controls, and
// what is not ASCII. The lowest mark is exact.
func special(x uint64) uint64 {
	quote := x ^ '"'*lows
	slash := x ^ '\\'*lows
	return ((quote-lows)&^quote | (slash-lows)&^slash | (x-' '*lows)&^x | x) & highs
}

// scanPlain returns the position of the first byte from i on that isn't plain text.
func scanPlain(b []byte, i int) int {
	for {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
}

// String returns the end of the string whose first byte after the quote stands at i: the position of the closing
// quote. plain says that the bytes between are its value: no escapes, valid UTF-8.
func String(b []byte, i int) (end int, plain bool) {
	from, ascii := i, true
	plain = true
	for {
		i = scanPlain(b, i)
		switch c := b[i]; {
		case c == '"':
			if !ascii && plain {
				plain = utf8.Valid(b[from:i])
			}
			return i, plain
		case c == '\\':
			plain = false
			switch b[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				for k := i + 2; k < i+6; k++ {
					if hexValue(b[k]) < 0 {
						return -1, false
					}
				}
				i += 6
			default:
				return -1, false
			}
		case c >= utf8.RuneSelf:
			ascii = false
			for i++; b[i] >= utf8.RuneSelf; i++ {
			}
		default: // a control character
			return -1, false
		}
	}
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// AppendUnquoted appends the value of the inside of a string that String found valid: escapes resolved, what is
// no UTF-8 and lone surrogates made U+FFFD.
func AppendUnquoted(dst, s []byte) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		case c != '\\':
			dst = append(dst, c)
			i++
			continue
		}
		switch s[i+1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := rune(hex4(s[i+2:]))
			if utf16.IsSurrogate(r) {
				pair := unicode.ReplacementChar
				if i+12 <= len(s) && s[i+6] == '\\' && s[i+7] == 'u' {
					pair = utf16.DecodeRune(r, rune(hex4(s[i+8:])))
				}
				if r = pair; r != unicode.ReplacementChar {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			i += 6
			continue
		default: // quote, backslash, slash
			dst = append(dst, s[i+1])
		}
		i += 2
	}
	return dst
}

func hex4(s []byte) int {
	return hexValue(s[0])<<12 | hexValue(s[1])<<8 | hexValue(s[2])<<4 | hexValue(s[3])
}

// Space returns the position of the first byte from i on that is no white space.
func Space(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r' {
		i++
	}
	return i
}

// Value returns the end of the value at i, every byte of it checked; -1 also for one that nests deeper than depth.
func Value(b []byte, i, depth int) int {
	switch b[i] {
	case '"':
		if i, _ = String(b, i+1); i < 0 {
			return -1
		}
		return i + 1
	case '{':
		if depth == 0 {
			return -1
		}
		return Members(b, i, func(_ []byte, i int) int { return Value(b, i, depth-1) })
	case '[':
		if depth == 0 {
			return -1
		}
		return Elements(b, i, func(i int) int { return Value(b, i, depth-1) })
	case 't':
		return Literal(b, i, "true")
	case 'f':
		return Literal(b, i, "false")
	case 'n':
		return Literal(b, i, "null")
	}
	return Number(b, i)
}

// Literal returns the end of the word at i.
func Literal(b []byte, i int, word string) int {
	if string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// Members reads the object at i, and calls value with the key of each member, escapes resolved, and where its value
// begins. value returns the end of the value; -1 ends it all. The key is good until value returns.
func Members(b []byte, i int, value func(key []byte, i int) int) int {
	if b[i] != '{' {
		return -1
	}
	i = Space(b, i+1)
	if b[i] == '}' {
		return i + 1
	}
	for {
		if b[i] != '"' {
			return -1
		}
		end, plain := String(b, i+1)
		if end < 0 {
			return -1
		}
		key := b[i+1 : end]
		if !plain {
			key = AppendUnquoted(nil, key)
		}
		if i = Space(b, end+1); b[i] != ':' {
			return -1
		}
		if i = value(key, Space(b, i+1)); i < 0 {
			return -1
		}
		switch i = Space(b, i); b[i] {
		case ',':
			i = Space(b, i+1)
		case '}':
			return i + 1
		default:
			return -1
		}
	}
}

// Elements reads the array at i, and calls value with where each element begins. value returns the end of the element;
// -1 ends it all.
func Elements(b []byte, i int, value func(i int) int) int {
	if b[i] != '[' {
		return -1
	}
	i = Space(b, i+1)
	if b[i] == ']' {
		return i + 1
	}
	for {
		if i = value(i); i < 0 {
			return -1
		}
		switch i = Space(b, i); b[i] {
		case ',':
			i = Space(b, i+1)
		case ']':
			return i + 1
		default:
			return -1
		}
	}
}
