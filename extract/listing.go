package extract

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas/scan"
)

// listing is what the fetcher looks at in an answer of /usage: which records it holds, and how many the API says there
// are. Everything else in it is transform's business.
type listing struct {
	keys     []recordKey
	summary  bool
	total    *int64 // data.total; nil if absent, null or no whole number
	tokens   *int64 // data.total_tokens of the summary shape
	sum      int64  // of the tokens of the summary records here
	overflow bool   // of sum: it can't be compared
}

// recordKey tells records apart: a digest of the id, or of the bytes of a record without one. Equal records without an
// id, as all of the summary shape are, have equal keys. A window is many of them, so they are kept small.
type recordKey [16]byte

// noID is the bit of a key's first byte that says that the record has no id.
const noID = 0x80

func keyOf(b []byte, id bool) (k recordKey) {
	sum := sha256.Sum256(b)
	copy(k[:], sum[:])
	if k[0] &^= noID; !id {
		k[0] |= noID
	}
	return k
}

// hasID reports whether the record had an id.
func (k recordKey) hasID() bool { return k[0]&noID == 0 }

// maxNesting is how deep an answer may nest, as encoding/json has it.
const maxNesting = 10_000

var errShape = errors.New(`the answer holds neither data.list nor data.records: the API may have changed`)

// errJSON says what is wrong with an answer that the scanner did not take.
func errJSON(body []byte) error {
	var v json.RawMessage
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return errors.New("it is JSON, but of another shape than the API documents")
}

// eachOf reads a padded text that is one JSON object, and calls value for each of its members as scan.Members does. It
// returns false if the text is something else.
func eachOf(padded []byte, value func(key []byte, i int) int) bool {
	i := scan.Members(padded, scan.Space(padded, 0), value)
	return i >= 0 && scan.Space(padded, i) == len(padded)-scan.Padding
}

// readListing reads an answer of either shape.
func readListing(body []byte) (*listing, error) {
	var (
		b                   = scan.Padded(body)
		detailed, summary   listing // of data.list and data.records
		data, list, records bool    // came
		total, tokens       *int64
	)
	ok := eachOf(b, func(key []byte, i int) int {
		if string(key) != "data" {
			return scan.Value(b, i, maxNesting)
		}
		list, records, total, tokens = false, false, nil, nil
		if data = b[i] != 'n'; !data {
			return scan.Literal(b, i, "null")
		}
		return scan.Members(b, i, func(key []byte, i int) (end int) {
			switch string(key) {
			case "list":
				list = true
				return detailed.read(b, i)
			case "records":
				records = true
				return summary.read(b, i)
			case "total":
				total, end = readCount(b, i)
			case "total_tokens":
				tokens, end = readCount(b, i)
			default:
				end = scan.Value(b, i, maxNesting)
			}
			return end
		})
	})
	l := &detailed
	switch {
	case !ok:
		return nil, fmt.Errorf("the answer can't be read: %w", errJSON(body))
	case !data || !list && !records:
		return nil, errShape
	case !list, detailed.keys == nil && records && summary.keys != nil:
		l = &summary
		l.summary = true
	}
	l.total = total
	if !l.overflow {
		l.tokens = tokens
	}
	return l, nil
}

// read reads the records of a list. That of null has no keys, not even none.
func (l *listing) read(b []byte, i int) int {
	*l = listing{}
	if b[i] == 'n' {
		return scan.Literal(b, i, "null")
	}
	l.keys = make([]recordKey, 0, DefaultPageSize)
	return scan.Elements(b, i, func(i int) int {
		id, tokens, end := readRecord(b, i)
		if end < 0 {
			return -1
		}
		if len(id) > 0 {
			l.keys = append(l.keys, keyOf(id, true))
		} else {
			l.keys = append(l.keys, keyOf(b[i:end], false))
		}
		if tokens != nil {
			l.overflow = l.overflow || l.sum > math.MaxInt64-*tokens
			l.sum += *tokens
		}
		return end
	})
}

// readRecord reads an entry of a list as far as its identity goes. One that is no object has no id.
func readRecord(b []byte, i int) (id []byte, tokens *int64, end int) {
	if b[i] != '{' {
		return nil, nil, scan.Value(b, i, maxNesting)
	}
	end = scan.Members(b, i, func(key []byte, i int) (end int) {
		switch string(key) {
		case "id":
			id, end = readText(b, i)
		case "tokens":
			tokens, end = readCount(b, i)
		default:
			end = scan.Value(b, i, maxNesting)
		}
		return end
	})
	return id, tokens, end
}

// readText reads the text of a string or number; nil for anything else.
func readText(b []byte, i int) (text []byte, end int) {
	switch b[i] {
	case '"':
		end, plain := scan.String(b, i+1)
		if end < 0 {
			return nil, -1
		}
		if !plain {
			return scan.AppendUnquoted(nil, b[i+1:end]), end + 1
		}
		return b[i+1 : end], end + 1
	case '{', '[', 't', 'f', 'n':
		return nil, scan.Value(b, i, maxNesting)
	}
	if end = scan.Number(b, i); end < 0 {
		return nil, -1
	}
	return b[i:end], end
}

// readCount reads a whole number that counts something, sent as a number or a string; nil if it is none.
func readCount(b []byte, i int) (n *int64, end int) {
	text, end := readText(b, i)
	return wholeNumber(string(text)), end
}

// wholeNumber is nil for what is no whole number from 0 on.
func wholeNumber(text string) *int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return nil
	}
	return &n
}

// plainText is the text of a JSON string or number; "" for anything else.
func plainText(raw json.RawMessage) string {
	text, end := readText(scan.Padded(raw), 0)
	if end < 0 {
		return ""
	}
	return string(text)
}
