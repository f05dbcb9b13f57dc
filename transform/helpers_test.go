package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// day0 is the day of the tests: 2026-11-01.
const day0 = schemas.Date(20758)

var noon = day0.Start().Add(12 * time.Hour).Unix()

var part = schemas.Partition{Account: "acme", Date: day0}

// sealed is a window of the day from the given second of it to the other, with these bodies for pages.
func sealed(seq int, from, to int64, bodies ...string) schemas.Sealed {
	start := day0.Start().Unix()
	s := schemas.Seal{
		Format: 1, Kind: schemas.KindUsage, Account: part.Account,
		Start: time.Unix(start+from, 0).UTC(), End: time.Unix(start+to, 0).UTC(),
		AskedStart: start + from - 1, AskedEnd: start + to, Pages: len(bodies), Requests: len(bodies),
		Proof: schemas.ProofTotal, Currency: "USD", RunID: fmt.Sprint("run-", seq),
		FetchedAt: time.Unix(start+200_000+int64(seq), 0).UTC(),
	}
	return schemas.Sealed{Seal: s, Seq: seq, Pages: pagesOf(bodies...)}
}

func pagesOf(bodies ...string) func(context.Context) iter.Seq2[schemas.Page, error] {
	return func(context.Context) iter.Seq2[schemas.Page, error] {
		return func(yield func(schemas.Page, error) bool) {
			var buf []byte // one buffer for all, as a reader of an archive has: it must not be kept
			for i, b := range bodies {
				for k := range buf {
					buf[k] = '!'
				}
				buf = append(buf[:0], b...)
				p := schemas.Page{Number: i + 1, RequestID: fmt.Sprint("req-", i+1), Body: buf}
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// wholeOf is what the archive reads at once of these pages: bodies in one piece of memory, some without room behind
// them. What it held before is gone.
func wholeOf(pages func(context.Context) iter.Seq2[schemas.Page, error]) func(context.Context, []byte) ([]schemas.Page,
	[]byte, bool, error) {
	return func(ctx context.Context, buf []byte) ([]schemas.Page, []byte, bool, error) {
		for k := range buf {
			buf[k] = '!'
		}
		var out []schemas.Page
		var ends []int
		buf = buf[:0]
		for p, err := range pages(ctx) {
			if err != nil {
				return nil, buf, false, err
			}
			buf = append(buf, p.Body...)
			ends = append(ends, len(buf))
			buf = append(buf, make([]byte, p.Number%2*scan.Padding)...)
			out = append(out, p)
		}
		buf = append(buf, make([]byte, scan.Padding)...)
		for i, end := range ends {
			from, room := end-len(out[i].Body), out[i].Number%2*scan.Padding
			out[i].Body = buf[from : end : end+room]
		}
		return out, buf, true, nil
	}
}

// wholeDay is one window over all of the day.
func wholeDay(bodies ...string) schemas.Sealed { return sealed(1, 0, 86400, bodies...) }

// listing is a page of the detailed answer with these records.
func listing(records ...string) string {
	return `{"meta":{"code":0,"message":"","request_id":"r"},"data":{"list":[` + strings.Join(records, ",") +
		`],"total":` + fmt.Sprint(len(records)) + `}}`
}

// summaryPage is a page of the summary answer.
func summaryPage(records ...string) string {
	return `{"data":{"records":[` + strings.Join(records, ",") + `],"total_tokens":1}}`
}

// row is a row as Arrow writes it in JSON: column to value.
type row map[string]any

type result struct {
	rows    []row
	text    string // all rows, as JSON lines
	rejects []schemas.Reject
	footer  schemas.DayFooter
}

// derive derives a day under an allocator that finds what isn't released: of windows that are read page by page, and of
// the same ones read at once, which give the same.
func derive(t testing.TB, opts Options, windows ...schemas.Sealed) result {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	opts.Allocator = mem
	out := deriveWith(t, NewDay(part, windows, opts))
	windows = slices.Clone(windows)
	for i := range windows {
		windows[i].Whole = wholeOf(windows[i].Pages)
	}
	if whole := deriveWith(t, NewDay(part, windows, opts)); !reflect.DeepEqual(whole, out) {
		t.Fatalf("windows that are read at once give %+v, page by page %+v", whole, out)
	}
	return out
}

func deriveWith(t testing.TB, d *Day) result {
	t.Helper()
	var out result
	var text bytes.Buffer
	for b, err := range d.Batches(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		out.rejects = append(out.rejects, b.Rejects...)
		if b.Usage == nil {
			continue
		}
		if !b.Usage.Schema().Equal(schemas.UsageSchema()) {
			t.Fatal("not the schema of usage")
		}
		js, err := b.Usage.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var rows []row
		dec := json.NewDecoder(bytes.NewReader(js))
		dec.UseNumber()
		if err := dec.Decode(&rows); err != nil {
			t.Fatalf("%v: %s", err, js)
		}
		for _, r := range rows {
			line, _ := json.Marshal(r)
			text.Write(append(line, '\n'))
		}
		out.rows = append(out.rows, rows...)
	}
	out.text = text.String()
	out.footer = d.Footer()
	return out
}

// detailed is a record of the detailed answer in full; changes are "key":value pairs that replace or are added, or
// -key to leave one out.
func detailed(id int, at int64, changes ...string) string {
	members := []string{
		fmt.Sprintf(`"id":"%d"`, id), fmt.Sprintf(`"request_time":%d`, at), `"user_id":"10023"`, `"custom_user_id":""`,
		`"token_id":"tk_5f2a"`, `"model":"claude-sonnet-4"`, `"model_type":"text"`, `"input_token":1000`,
		`"output_token":100`, `"input_price":3`, `"output_price":15`, `"cached_token":10`, `"cached_price":0.3`,
		`"total_amount":0.004503`, `"discount_amount":0.001`, `"amount":0.003503`, `"channel_id":42`, `"ext":{}`,
	}
	for _, c := range changes {
		name, gone := strings.CutPrefix(c, "-")
		if !gone {
			name, _, _ = strings.Cut(c, ":")
			name = strings.Trim(name, `"`)
		}
		at := -1
		for i, m := range members {
			if strings.HasPrefix(m, `"`+name+`":`) {
				at = i
			}
		}
		switch {
		case gone:
			members = append(members[:at:at], members[at+1:]...)
		case at >= 0:
			members[at] = c
		default:
			members = append(members, c)
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}
