package extract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/usagelake/usagelake/schemas"
)

// ask is a question to /usage: a page of the records of a window in [start, end] as sent, Unix seconds, of which a
// filter may leave only those of a token or a user. A pass asks it of each of its pages.
type ask struct {
	window     schemas.Window // whose turn it is, and for messages
	start, end int64
	page       int       // 0: the first
	size       int       // of a page; 0, of a pass alone: as the server is known to take
	field      string    // token_id or user_id; "": no filter
	value      string    // of field
	progress   *progress // of the window, where its pages are waited for; nil if they aren't
	sending    func()    // called each time the pacer has let the request through; nil: nobody
}

// between is the same question of another range.
func (a ask) between(start, end int64) ask {
	a.start, a.end = start, end
	return a
}

// sized is the same question in pages of so many records.
func (a ask) sized(size int) ask {
	a.size = size
	return a
}

// told is the answer to an ask.
type told struct {
	page     schemas.Page
	listing  *listing // what the page lists
	attempts int      // requests that it took
}

// usage asks for one page of what a asks for. What a failed one took isn't told.
func (c *Client) usage(ctx context.Context, a ask) (told, error) {
	page := max(1, a.page)
	q := map[string][]string{
		"start_time": {strconv.FormatInt(a.start, 10)},
		"end_time":   {strconv.FormatInt(a.end, 10)},
		"page":       {strconv.Itoa(page)},
		"pagesize":   {strconv.Itoa(a.size)},
	}
	of := ""
	if a.field != "" {
		q[a.field] = []string{a.value}
		of = " of one " + a.field
	}
	stamp := func(second int64) string { return time.Unix(second, 0).UTC().Format(time.RFC3339) }
	var l *listing
	answer, err := c.get(ctx, question{
		op:       fmt.Sprintf("GET /usage page %d of %s/%s%s", page, stamp(a.start), stamp(a.end), of),
		path:     "usage",
		query:    q,
		priority: a.window.Start.Unix(),
		sending:  a.sending,
		valid: func(body []byte) (err error) {
			l, err = readListing(body)
			return err
		},
	})
	if err != nil {
		return told{}, err
	}
	return told{
		page:     schemas.Page{Number: page, RequestID: answer.requestID, FetchedAt: answer.at, Body: answer.body},
		listing:  l,
		attempts: answer.attempts,
	}, nil
}

// Sample asks once for the first page of w, as it comes: to look at what the API holds, not to fetch it. w may span
// days.
func (c *Client) Sample(ctx context.Context, w schemas.Window, size int) (schemas.Page, error) {
	got, err := c.usage(ctx, ask{window: w, start: w.Start.Unix() - Margin, end: w.End.Unix(), size: size})
	return got.page, err
}

// Counted is what the API announces for a window: records of the detailed shape or tokens of the summary shape. Nil
// means that it doesn't say.
type Counted struct {
	Records, Tokens *int64
	Some            bool // a record came with the answer
}

// String is for a log: "4711 records".
func (c Counted) String() string {
	switch {
	case c.Records != nil:
		return fmt.Sprintf("%d records", *c.Records)
	case c.Tokens != nil:
		return fmt.Sprintf("%d tokens", *c.Tokens)
	}
	return "no count"
}

// isNothing says that there is none, as far as an answer says.
func (c Counted) isNothing() bool {
	return !c.Some && (c.Records == nil || *c.Records == 0) && (c.Tokens == nil || *c.Tokens == 0)
}

// counted is what an answer announces; nothing, of one that failed.
func (t told) counted() Counted {
	switch {
	case t.listing == nil:
		return Counted{}
	case t.listing.summary:
		return Counted{Tokens: t.listing.tokens, Some: len(t.listing.entries) > 0}
	}
	return Counted{Records: t.listing.total, Some: len(t.listing.entries) > 0}
}

// refusal says that the server won't answer this, however often it is asked: a range, a page or its size, or a filter.
// It doesn't say which, so whoever asked goes by what he asked for. A key that isn't accepted is none, but ErrRefused.
func refusal(err error) bool {
	var api *APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// pack compresses a page for the time that the rest of its window takes: with many accounts it is most of what is in
// memory. It takes body over, whose memory the next answer is read into.
func pack(body []byte) []byte {
	buf := packed.Get().(*[]byte)
	*buf = s2.EncodeBetter((*buf)[:cap(*buf)], body)
	p := bytes.Clone(*buf)
	if cap(body) <= keptBody {
		bodies.Put(&body)
		packed.Put(buf)
	}
	return p
}

// packed holds what pages are compressed into, bodies what answers are read into: together they were most of the
// garbage.
var (
	packed = sync.Pool{New: func() any { return new([]byte) }}
	bodies = sync.Pool{New: func() any { return new([]byte) }}
)

// keptBody bounds the memory that waits for the next answer; what it is compressed into is hardly larger.
const keptBody = 1 << 20

// unpack undoes pack for all pages of a window.
func unpack(pages []schemas.Page) error {
	for i := range pages {
		body, err := s2.Decode(nil, pages[i].Body)
		if err != nil {
			return fmt.Errorf("page %d can't be decompressed: %w", pages[i].Number, err)
		}
		pages[i].Body = body
	}
	return nil
}
