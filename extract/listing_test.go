package extract

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// plainListing is what readListing is held against: the same, by the standard library.
func plainListing(body []byte) (l *listing, ok bool) {
	var doc struct {
		Data map[string]json.RawMessage
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil || json.Unmarshal(top["data"], &doc.Data) != nil {
		return nil, false
	}
	text := func(raw json.RawMessage) string {
		var s string
		switch {
		case len(raw) > 0 && strings.ContainsRune("-0123456789", rune(raw[0])):
			return string(raw)
		case json.Unmarshal(raw, &s) != nil:
			return ""
		}
		return s
	}
	count := func(raw json.RawMessage) *int64 {
		n, ok := new(big.Int).SetString(strings.TrimSpace(text(raw)), 10)
		if !ok || n.Sign() < 0 || !n.IsInt64() || strings.Contains(text(raw), "_") {
			return nil
		}
		v := n.Int64()
		return &v
	}
	list, hasList := doc.Data["list"]
	records, hasRecords := doc.Data["records"]
	var lists [2][]json.RawMessage
	if hasList && json.Unmarshal(list, &lists[0]) != nil || hasRecords && json.Unmarshal(records, &lists[1]) != nil ||
		!hasList && !hasRecords {
		return nil, false
	}
	l = &listing{total: count(doc.Data["total"]), tokens: count(doc.Data["total_tokens"])}
	items := lists[0]
	if items == nil {
		items = lists[1]
		l.summary = !hasList || items != nil
	}
	sum := new(big.Int)
	for _, raw := range items {
		var r map[string]json.RawMessage
		_ = json.Unmarshal(raw, &r)
		e := entry{at: noTime}
		if id := text(r["id"]); id != "" {
			e.key.id = hashID([]byte(id))
		}
		l.entries = append(l.entries, e)
		if n := count(r["tokens"]); n != nil {
			sum.Add(sum, big.NewInt(*n))
		}
	}
	if l.sum = sum.Int64(); !sum.IsInt64() {
		l.tokens = nil
	}
	return l, true
}

// checkListing holds readListing against it.
func checkListing(t interface{ Fatalf(string, ...any) }, body []byte) {
	l, err := readListing(body)
	want, ok := plainListing(body)
	switch {
	case ok != (err == nil) || ok != (l != nil):
		t.Fatalf("%q: %v, %v", body, l, err)
	case !ok:
		return
	case l.summary != want.summary || !equalCounts(l.total, want.total) || !equalCounts(l.tokens, want.tokens) ||
		l.tokens != nil && l.sum != want.sum:
		t.Fatalf("%q: %+v, want %+v", body, l, want)
	case len(l.entries) != len(want.entries):
		t.Fatalf("%q: %d records, want %d", body, len(l.entries), len(want.entries))
	}
	for i := range l.entries {
		if l.entries[i].key.id != want.entries[i].key.id {
			t.Fatalf("%q: record %d is told apart by something else", body, i)
		}
	}
}

var listings = []string{
	`{"meta":{"code":0},"data":{"list":[{"id":"1","request_time":1},{"id":2},{},7,null,"x",` +
		`{"id":""},{"id":true},{"id":"1\u0031"}],"total":6}}`,
	`{"data":{"records":[{"timestamp":1,"tokens":2,"model":"m"}],"total_tokens":"2"}}`,
	`{"data":{"records":[{"tokens":9223372036854775807},{"tokens":"1"}],"total_tokens":2}}`,
	`{"data":{"records":[{"tokens":-1},{"tokens":1.5},{"tokens":" 3 "},{"tokens":{}}],"total_tokens":3}}`,
	`{"data":{"list":null}}`, `{"data":{"list":null,"records":null}}`, `{"data":{"records":null}}`,
	`{"data":{"records":[{"id":1}],"list":null}}`,
	`{"data":{"list":[{"id":3}],"records":[{"id":4}],"list":[{"id":5}]}}`, `{"data":{"list":[]},"data":{"records":[]}}`,
	`{"data":{"\u006cist":[{"\u0069d":"a"}],"total":"007"}}`, `{"data":{"list":[{"ID":"a","Id":"b"}]},"DATA":{}}`,
	`{"data":null}`, `{"data":{}}`, `{"data":{"list":{}}}`, `{"data":[]}`, `{"data":1}`, `{}`, `[]`, `null`, ``, ` `,
	`{"data":{"list":[]}} x`, "{\"data\":{\"list\":[]}}\x00", `{"data":{"list":[{]}}`,
	`{"data":{"list":[{"id":-0},{"id":1e3},{"id":"` + "\xff" + `"}],"total":-1,"total_tokens":null}}`,
}

func TestAListingIsReadAsTheStandardLibraryWould(t *testing.T) {
	for _, s := range listings {
		checkListing(t, []byte(s))
	}
	pieces := rapid.SliceOf(rapid.SampledFrom([]string{
		`{"data":`, `{"list":[`, `{"records":[`, `,"total":`, `,"records":[`, `{"id":`, `{"tokens":`, `,"id":`, `"a"`, `1`,
		`-2`, `null`, `true`, `{}`, `]`, `}`, `,`, `"\u00e9"`, ` `, "\xff",
	}))
	rapid.Check(t, func(t *rapid.T) {
		inside := strings.Join(pieces.Draw(t, "pieces"), "")
		checkListing(t, []byte(rapid.SampledFrom([]string{inside, `{"data":{"list":[` + inside + `]}}`,
			`{"data":{"records":[{"id":` + inside + `}],"total_tokens":3}}`}).Draw(t, "body")))
	})
}

func FuzzListing(f *testing.F) {
	for _, s := range listings {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkListing(t, b)
		if _, err := readListing(b); err == nil {
			if _, err := readEnvelope(b); err != nil && err != errNoEnvelope &&
				!strings.Contains(err.Error(), "json: cannot unmarshal") {
				t.Fatalf("a listing without an envelope: %v", err)
			}
		}
	})
}
