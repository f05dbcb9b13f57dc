package extract

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/usagelake/usagelake/schemas/scan"
)

// listing is what the fetcher looks at in an answer of /usage: which records it holds, of which second, and how many
// the API says there are. Everything else in it is transform's business.
type listing struct {
	entries  []entry
	summary  bool
	total    *int64 // data.total; nil if absent, null or no whole number
	tokens   *int64 // data.total_tokens of the summary shape
	sum      int64  // of the tokens of the summary records here
	overflow bool   // of sum: it can't be compared
}

// entry is a record of a listing.
type entry struct {
	key recordKey
	at  int64 // the second the record shows, Unix; noTime if it shows none
}

// noTime stands for the time of a record that shows none that can be read.
const noTime = math.MinInt64

// recordKey tells records apart: a hash of the id, and one of the content, in which the order of the fields and the
// space between them have no part. One id may stand on several records: a charge and its refund, a retry over another
// channel. A window is many keys, so they are kept small; that two records have the same by chance is as likely as one
// in 2⁶⁴ for each pair of one id.
type recordKey struct{ id, content uint64 }

// hasID reports whether the record has an id. Equal records without one, as all of the summary shape are, have equal
// keys.
func (k recordKey) hasID() bool { return k.id != 0 }

// hashID is never 0, which stands for no id.
func hashID(id []byte) uint64 { return max(1, xxh3.Hash(id)) }

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
	case !list, detailed.entries == nil && records && summary.entries != nil:
		l = &summary
		l.summary = true
	}
	l.total = total
	if !l.overflow {
		l.tokens = tokens
	}
	return l, nil
}

// read reads the records of a list. That of null has no entries, not even none.
func (l *listing) read(b []byte, i int) int {
	*l = listing{}
	if b[i] == 'n' {
		return scan.Literal(b, i, "null")
	}
	l.entries = make([]entry, 0, smallPage)
	return scan.Elements(b, i, func(i int) int {
		e, tokens, end := readRecord(b, i)
		if end < 0 {
			return -1
		}
		l.entries = append(l.entries, e)
		if tokens != nil {
			l.overflow = l.overflow || l.sum > math.MaxInt64-*tokens
			l.sum += *tokens
		}
		return end
	})
}

// readRecord reads an entry of a list as far as its identity and its time go. One that is no object has neither.
func readRecord(b []byte, i int) (e entry, tokens *int64, end int) {
	e.at = noTime
	if b[i] != '{' {
		if end = scan.Value(b, i, maxNesting); end >= 0 {
			e.key.content = xxh3.Hash(b[i:end])
		}
		return e, nil, end
	}
	end = scan.Members(b, i, func(key []byte, i int) (end int) {
		switch string(key) {
		case "id":
			var id []byte
			if id, end = readText(b, i); len(id) > 0 {
				e.key.id = hashID(id)
			} else {
				e.key.id = 0
			}
		case "tokens":
			tokens, end = readCount(b, i)
		case "request_time", "timestamp":
			e.at, end = readTime(b, i)
		default:
			end = scan.Value(b, i, maxNesting)
		}
		if end >= 0 { // a sum, so that the order of the members has no part in it
			e.key.content += xxh3.HashSeed(b[i:end], xxh3.Hash(key))
		}
		return end
	})
	return e, tokens, end
}

// readTime reads the Unix second of a time; one in milliseconds or finer is taken for the second that it obviously
// means.
func readTime(b []byte, i int) (at int64, end int) {
	n, end := readCount(b, i)
	if n == nil {
		return noTime, end
	}
	const farthest = 100_000_000_000 // the year 5138, in seconds
	for at = *n; at >= farthest; {
		at /= 1000
	}
	return at, end
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
