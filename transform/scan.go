package transform

import (
	"encoding/binary"
	"math/bits"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// The scanner reads JSON where it lies, followed by padding zeros: a zero is no byte of JSON outside of a string nor a
// plain one within it, so that no loop has to look for the end. Positions are returned; -1 says that the bytes are
// not JSON, or not of the kind the scanner knows.

// scanNumber returns the end of the number at i. Unlike the others it also works without padding.
func scanNumber(b []byte, i int) int {
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

// scanString returns the end of the string whose first byte after the quote stands at i: the position of the closing
// quote. plain says that the bytes between are its value: no escapes, valid UTF-8.
func scanString(b []byte, i int) (end int, plain bool) {
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

// appendUnquoted appends the value of the inside of a string that scanString found valid: escapes resolved, what is
// no UTF-8 and lone surrogates made U+FFFD.
func appendUnquoted(dst, s []byte) []byte {
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

// skipSpace returns the position of the first byte from i on that is no white space.
func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r' {
		i++
	}
	return i
}

// skipValue returns the end of the value at i, every byte of it checked; -1 also for one that nests deeper than depth.
func skipValue(b []byte, i, depth int) int {
	switch b[i] {
	case '"':
		if i, _ = scanString(b, i+1); i < 0 {
			return -1
		}
		return i + 1
	case '{':
		if depth == 0 {
			return -1
		}
		i = skipSpace(b, i+1)
		if b[i] == '}' {
			return i + 1
		}
		for {
			if b[i] != '"' {
				return -1
			}
			if i, _ = scanString(b, i+1); i < 0 {
				return -1
			}
			if i = skipSpace(b, i+1); b[i] != ':' {
				return -1
			}
			if i = skipValue(b, skipSpace(b, i+1), depth-1); i < 0 {
				return -1
			}
			switch i = skipSpace(b, i); b[i] {
			case ',':
				i = skipSpace(b, i+1)
			case '}':
				return i + 1
			default:
				return -1
			}
		}
	case '[':
		if depth == 0 {
			return -1
		}
		i = skipSpace(b, i+1)
		if b[i] == ']' {
			return i + 1
		}
		for {
			if i = skipValue(b, i, depth-1); i < 0 {
				return -1
			}
			switch i = skipSpace(b, i); b[i] {
			case ',':
				i = skipSpace(b, i+1)
			case ']':
				return i + 1
			default:
				return -1
			}
		}
	case 't':
		return literal(b, i, "true")
	case 'f':
		return literal(b, i, "false")
	case 'n':
		return literal(b, i, "null")
	}
	return scanNumber(b, i)
}

// literal returns the end of the word at i.
func literal(b []byte, i int, word string) int {
	if string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}
