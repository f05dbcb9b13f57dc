package transform

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/usagelake/usagelake/schemas"
)

// Known is a record as one state of a day knows it.
type Known struct {
	ID       string
	Time     time.Time // UTC
	Model    string    // "" if it has none; so of TokenID and Currency
	TokenID  string
	Currency string
	Amount   *schemas.Money // in Currency; nil if it has none

	content [][]byte // by column, but for noContent; nil where the other side of the day has nothing
}

// Change is what became of a record: it came (Before is nil), it went (After is nil), or it has other content.
type Change struct {
	Before, After *Known
}

// Fields are the columns in which the two sides differ, in order; none of a record that came or went.
func (c Change) Fields() []string {
	if c.Before == nil || c.After == nil {
		return nil
	}
	var out []string
	i := 0
	for n, column := range schemas.UsageColumns() {
		if slices.Contains(noContent, n) {
			continue
		}
		if !bytes.Equal(c.Before.content[i], c.After.content[i]) {
			out = append(out, column.Name)
		}
		i++
	}
	return out
}

// Sum counts the records of one currency.
type Sum struct {
	Records  int64
	NoAmount int64         // of Records, those without an amount
	Amount   schemas.Money // of the others
}

// Comparison is what the two states of a day hold as a whole, by currency, "" where there is none.
type Comparison struct {
	Before, After            map[string]Sum
	RejectsBefore            int64 // in quarantine
	RejectsAfter             int64
	RejectsCame, RejectsWent int64 // by content: one that stays is in neither
}

// Compare tells two states of one day apart: what its windows gave before, and what they give with those that were
// sealed since. each is told every record that came, went or changed: in the order of their time in after, then those
// that went. A record's content is what its columns say, but for when and by which run it was fetched, and for its
// ordinal. Of one id in the day, one that went and one that came are one that changed; those of one time first. So, by
// currency and to the last digit,
//
//	after = before + came − went − Σ changed: before + Σ changed: after
//
// Memory holds a batch of either side, the records of one time, and those of before that have no counterpart in after.
func Compare(ctx context.Context, before, after *Day, each func(Change) error) (Comparison, error) {
	// Which records went is known at the end of the day, and one that came may be one of them at another time. So the day
	// is gone through twice, unless one side has nothing.
	gone := map[string][]*Known{}
	twice := len(before.windows) > 0 && len(after.windows) > 0
	if twice {
		if _, err := comparePass(ctx, before, after, twice, func(c Change) error {
			if c.After == nil {
				gone[c.Before.ID] = append(gone[c.Before.ID], c.Before)
			}
			return nil
		}); err != nil {
			return Comparison{}, err
		}
	}
	out, err := comparePass(ctx, before, after, twice, func(c Change) error {
		switch {
		case c.After == nil && twice: // told at the end
			return nil
		case c.Before == nil && len(gone[c.After.ID]) > 0:
			c.Before, gone[c.After.ID] = gone[c.After.ID][0], gone[c.After.ID][1:]
		}
		return each(c)
	})
	if err != nil {
		return out, err
	}
	var rest []*Known
	for _, known := range gone {
		rest = append(rest, known...)
	}
	slices.SortStableFunc(rest, func(a, b *Known) int {
		return cmp.Or(a.Time.Compare(b.Time), schemas.CompareIDs([]byte(a.ID), []byte(b.ID)))
	})
	for _, k := range rest {
		if err := each(Change{Before: k}); err != nil {
			return out, err
		}
	}
	return out, nil
}

// comparePass goes through both sides at once, one time after the other, and tells what differs at each; with fields in
// a way that Change.Fields can tell of, too.
func comparePass(ctx context.Context, before, after *Day, fields bool, each func(Change) error) (out Comparison,
	err error) {
	rejects := map[[sha256.Size]byte]int64{} // how many more of one content after has than before
	was, is := newSide(ctx, before), newSide(ctx, after)
	defer was.stop()
	defer is.stop()
	for {
		if err := cmp.Or(was.err, is.err); err != nil {
			return out, err
		}
		at := min(was.at, is.at)
		if at == endOfSide {
			break
		}
		a, b := was.take(at), is.take(at)
		if !bytes.Equal(was.text, is.text) { // the rule is that nothing differs
			if err := tellApart(a, b, fields, each); err != nil {
				return out, err
			}
		}
	}
	out.Before, out.After = was.sums, is.sums
	for _, s := range []struct {
		side  *side
		sign  int64
		count *int64
	}{{was, -1, &out.RejectsBefore}, {is, 1, &out.RejectsAfter}} {
		for sum, n := range s.side.rejects {
			rejects[sum] += s.sign * n
			*s.count += n
		}
	}
	for _, n := range rejects {
		out.RejectsCame += max(n, 0)
		out.RejectsWent += max(-n, 0)
	}
	return out, nil
}

// tellApart tells what differs between the records of one time on both sides.
func tellApart(a, b []sideRow, fields bool, each func(Change) error) error {
	stays := map[string]int{}
	for _, r := range a {
		stays[string(r.text)]++
	}
	b = slices.DeleteFunc(b, func(r sideRow) bool {
		if stays[string(r.text)] == 0 {
			return false
		}
		stays[string(r.text)]--
		return true
	})
	// What is left of a content is how many of it a has more: the first of them, which are as good as the last.
	a = slices.DeleteFunc(a, func(r sideRow) bool {
		if stays[string(r.text)] == 0 {
			return true
		}
		stays[string(r.text)]--
		return false
	})
	for _, r := range a {
		was := r.known(fields)
		c := Change{Before: &was}
		if i := slices.IndexFunc(b, func(o sideRow) bool { return o.id() == was.ID }); i >= 0 {
			is := b[i].known(fields)
			c.After = &is
			b = slices.Delete(b, i, i+1)
		}
		if err := each(c); err != nil {
			return err
		}
	}
	for _, r := range b {
		is := r.known(fields)
		if err := each(Change{After: &is}); err != nil {
			return err
		}
	}
	return nil
}

// endOfSide is the time of a side that has no more records.
const endOfSide = arrow.Timestamp(1<<63 - 1)

// side goes through the records of a state of a day.
type side struct {
	next    func() (Batch, error, bool)
	stop    func()
	err     error
	batch   arrow.RecordBatch // nil before the first and at the end
	row     int
	at      arrow.Timestamp // of the next record; endOfSide if there is none
	sums    map[string]Sum
	rejects map[[sha256.Size]byte]int64

	// Of the records that take returned last: valid until it is called again.
	rows []sideRow
	text []byte              // their contents, one after the other
	held []arrow.RecordBatch // what they stand in, retained
}

type sideRow struct {
	batch arrow.RecordBatch
	row   int
	text  []byte // its content
}

func newSide(ctx context.Context, d *Day) *side {
	s := &side{sums: map[string]Sum{}, rejects: map[[sha256.Size]byte]int64{}}
	var stop func()
	s.next, stop = iter.Pull2(d.Batches(ctx))
	s.stop = func() {
		s.release()
		stop()
	}
	s.advance()
	return s
}

func (s *side) release() {
	for _, b := range s.held {
		b.Release()
	}
	clear(s.held)
	s.held = s.held[:0]
}

// advance goes to the next record, which may be in the next batch.
func (s *side) advance() {
	s.row++
	for s.batch == nil || s.row >= int(s.batch.NumRows()) {
		b, err, ok := s.next()
		if s.err = err; err != nil || !ok {
			s.batch, s.at = nil, endOfSide
			return
		}
		for _, r := range b.Rejects {
			h := sha256.New()
			fmt.Fprintf(h, "%s\n%s\n", r.Reason, r.Field)
			h.Write(r.Raw)
			s.rejects[[sha256.Size]byte(h.Sum(nil))]++
		}
		if s.batch, s.row = b.Usage, 0; s.batch != nil && s.batch.NumRows() == 0 {
			s.batch = nil
		}
	}
	s.at = s.batch.Column(schemas.ColRequestTime).(*array.Timestamp).Value(s.row)
}

// take returns the records of a time, none if the next is of another one, and goes on to those behind it.
func (s *side) take(at arrow.Timestamp) []sideRow {
	s.release()
	s.rows, s.text = s.rows[:0], s.text[:0]
	var ends []int
	for s.at == at {
		if n := len(s.held); n == 0 || s.held[n-1] != s.batch {
			s.batch.Retain()
			s.held = append(s.held, s.batch)
		}
		s.rows = append(s.rows, sideRow{batch: s.batch, row: s.row})
		s.text = appendContent(s.text, s.batch, s.row)
		ends = append(ends, len(s.text))
		s.count()
		s.advance()
	}
	from := 0
	for i, end := range ends { // only now: the text has grown, and may have moved
		s.rows[i].text = s.text[from:end:end]
		from = end
	}
	return s.rows
}

// count adds the next record to the sums.
func (s *side) count() {
	r := sideRow{batch: s.batch, row: s.row}
	currency := r.string(schemas.ColCurrency)
	sum := s.sums[currency]
	sum.Records++
	if m := r.amount(); m != nil {
		sum.Amount = sum.Amount.Add(*m)
	} else {
		sum.NoAmount++
	}
	s.sums[currency] = sum
}

func (r sideRow) id() string { return r.string(schemas.ColID) }

// string is a text that may be kept; "" for NULL.
func (r sideRow) string(column int) string {
	c := r.batch.Column(column).(*array.String)
	if c.IsNull(r.row) {
		return ""
	}
	return string([]byte(c.Value(r.row)))
}

// amount has no currency; nil for NULL.
func (r sideRow) amount() *schemas.Money {
	c := r.batch.Column(schemas.ColAmount).(*array.Decimal64)
	if c.IsNull(r.row) {
		return nil
	}
	m := schemas.MoneyOf(big.NewInt(int64(c.Value(r.row))))
	return &m
}

func (r sideRow) known(fields bool) Known {
	k := Known{ID: r.id(), Model: r.string(schemas.ColModel), TokenID: r.string(schemas.ColTokenID),
		Currency: r.string(schemas.ColCurrency), Amount: r.amount(),
		Time: r.batch.Column(schemas.ColRequestTime).(*array.Timestamp).Value(r.row).ToTime(arrow.Microsecond).UTC()}
	if k.Amount != nil {
		m := k.Amount.In(k.Currency)
		k.Amount = &m
	}
	for i := range int(r.batch.NumCols()) {
		if fields && !slices.Contains(noContent, i) {
			k.content = append(k.content, appendValue(nil, r.batch.Column(i), r.row))
		}
	}
	return k
}

// noContent are the columns that aren't part of what a record says.
var noContent = []int{schemas.ColAccount, schemas.ColUsageDate, schemas.ColOrdinal, schemas.ColFetchedAt,
	schemas.ColRunID}

// appendContent appends what a record says, the same bytes for the same content alone: each value behind its length, or
// a mark that it is NULL.
func appendContent(b []byte, batch arrow.RecordBatch, row int) []byte {
	for i := range int(batch.NumCols()) {
		if !slices.Contains(noContent, i) {
			b = appendValue(b, batch.Column(i), row)
		}
	}
	return b
}

func appendValue(b []byte, column arrow.Array, row int) []byte {
	if column.IsNull(row) {
		return append(b, 0)
	}
	b = append(b, 1)
	switch c := column.(type) {
	case *array.String:
		v := c.Value(row)
		return append(binary.AppendUvarint(b, uint64(len(v))), v...)
	case *array.Int64:
		return binary.AppendVarint(b, c.Value(row))
	case *array.Timestamp:
		return binary.AppendVarint(b, int64(c.Value(row)))
	case *array.Decimal64:
		return binary.AppendVarint(b, int64(c.Value(row)))
	case *array.List:
		from, to := c.ValueOffsets(row)
		b = binary.AppendVarint(b, to-from)
		for i := from; i < to; i++ {
			b = appendValue(b, c.ListValues(), int(i))
		}
		return b
	case *array.Struct:
		for i := range c.NumField() {
			b = appendValue(b, c.Field(i), row)
		}
		return b
	}
	panic(fmt.Sprintf("transform: no record has a column of %s", column.DataType()))
}
