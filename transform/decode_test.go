package transform

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// staged is a record as both decoders must stage it, in values.
type staged struct {
	Time         int64
	Have, Absent uint32
	Kind         uint8
	BadExt       bool
	Rounded      bool
	Fault        *fault
	Raw          string
	Texts        [numTexts]string
	Counts       [numCounts]int64
	Money        [numMoney]schemas.Decimal
	Items        []stagedItem
	Names        []string
}

type stagedItem struct {
	Category, Name, Unit string
	Have                 uint8
	Money                [3]schemas.Decimal
}

func (s *stage) dump() []staged {
	var out []staged
	for i := range s.recs {
		r := &s.recs[i]
		d := staged{
			Time: r.time, Have: r.have, Absent: r.absent, Kind: r.kind, BadExt: r.badExt, Rounded: r.rounded,
			Raw: string(s.bytes(r, r.raw)), Counts: r.counts, Money: r.money,
		}
		if f := s.fault(r); f != nil {
			d.Fault = f
			// Of a reject only its place and its identity matter.
			d.Have, d.Absent, d.Rounded = 0, 0, false
			d.Counts, d.Money = [numCounts]int64{}, [numMoney]schemas.Decimal{}
			d.Texts[tID] = string(s.id(r))
			out = append(out, d)
			continue
		}
		for k, t := range r.texts {
			d.Texts[k] = string(s.bytes(r, t))
		}
		for _, it := range s.items[r.items : r.items+r.nItems] {
			d.Items = append(d.Items, stagedItem{
				string(s.bytes(r, it.category)), string(s.bytes(r, it.name)), string(s.bytes(r, it.unit)), it.have, it.money,
			})
		}
		for _, no := range s.unknown[r.names : r.names+r.nNames] {
			d.Names = append(d.Names, s.names[no])
		}
		out = append(out, d)
	}
	return out
}

// decodeBoth stages a body with both decoders and fails if they differ.
func decodeBoth(t testing.TB, bodies ...string) []staged {
	t.Helper()
	fast, plain := &stage{}, &stage{plainOnly: true}
	for _, b := range bodies {
		for _, s := range []*stage{fast, plain} {
			if err := s.addPage(schemas.Page{Number: 1, Body: []byte(b)}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, b := fast.dump(), plain.dump()
	if !reflect.DeepEqual(a, b) || fast.summary != plain.summary {
		t.Fatalf("the decoders differ\nfast  %s\nplain %s\nof    %q", show(a), show(b), bodies)
	}
	return a
}

func show(recs []staged) string {
	s := fmt.Sprint(len(recs), " records")
	for _, r := range recs {
		s += fmt.Sprintf("\n  %+v", r)
		if r.Fault != nil {
			s += fmt.Sprintf(" fault %+v", *r.Fault)
		}
	}
	return s
}

// hostile are records that have gone wrong somewhere, or could.
var hostile = []string{
	`null`, `1`, `"x"`, `[]`, `{}`, `true`,
	`{"id":"a","request_time":1763884800}`,
	`{ "id" : "a" , "request_time" : "1763884800.25" }`,
	`{"id":7318349394477056,"request_time":1763884800123}`,
	`{"id":"a","id":"b","request_time":1763884800}`,
	`{"id":"a","\u0069d":"b","request_time":1763884800}`,
	`{"id":"a","request_time":1.7638848e9,"input_token":1e3,"output_token":"1234.0","cached_token":-5}`,
	`{"id":"a","request_time":1763884800,"input_token":9223372036854775807,"output_token":1}`,
	`{"id":"a","request_time":1763884800,"input_token":9223372036854775808}`,
	`{"id":"a","request_time":1763884800,"input_token":1.5}`,
	`{"id":"a","request_time":1763884800,"input_token":""}`,
	`{"id":"a","request_time":1763884800,"input_token":true}`,
	`{"id":"a","request_time":1763884800,"input_token":01}`,
	`{"id":"a","request_time":1763884800,"input_token":"01"}`,
	`{"id":"a","request_time":1763884800,"input_price":"NaN"}`,
	`{"id":"a","request_time":1763884800,"input_price":2.58e-8,"output_price":0.30000000000000004,"amount":-0}`,
	`{"id":"a","request_time":1763884800,"total_amount":0.0000000000005,` +
		`"discount_amount":1.0000000000000,"amount":"12.3456789012345e1"}`,
	`{"id":"a","request_time":1763884800,"amount":1000000}`,
	`{"id":"a","request_time":1763884800,"amount":999999.9999999999995}`,
	`{"id":"a","request_time":1763884800,"amount":"-999999.999999999999"}`,
	`{"id":"a","request_time":1763884800,"custom_user_id":"\ud83d\ude00 \ud800 \"\\\/\b\f\n\r\t \u0000 é"}`,
	"{\"id\":\"a\",\"request_time\":1763884800,\"custom_user_id\":\"\xff\xc3\x28\",\"\xff\":1}",
	`{"id":"a","request_time":1763884800,"model":{"x":1}}`,
	`{"id":"a","request_time":1763884800,"user_id":10023,"token_id":1e5,"model":null,"channel_id":"42"}`,
	`{"id":"a","request_time":1763884800,"z":1.50,"b":"x","a":null,"c":true}`,
	`{"id":"a","request_time":1763884800,"z":{"b": [1, 2], "a" : "\u0041\u2028"},"z2":"\n"}`,
	`{"id":"a","request_time":1763884800,"z":1,"z":2}`,
	`{"id":"a","request_time":1763884800,"ext":null}`,
	`{"id":"a","request_time":1763884800,"ext":{}}`,
	`{"id":"a","request_time":1763884800,"ext":"{}"}`,
	`{"id":"a","request_time":1763884800,"ext":""}`,
	`{"id":"a","request_time":1763884800,"ext":"{\"tools\":{\"s\":{\"amount\":\"1\"}}}"}`,
	`{"id":"a","request_time":1763884800,"ext":[1],"y":2}`,
	`{"id":"a","request_time":1763884800,"ext":{"t":{"b":{"unit":"each","price":1,"usage":"2","amount":2},` +
		`"a":{"amount":null}},"g":null,"e":{}}}`,
	`{"id":"a","request_time":1763884800,"ext":{"t":{"b":{"unit":1}},"t":{"c":{"unit":2}}}}`,
	`{"id":"a","request_time":1763884800,"ext":{"t":{"b":{"unit":1},"b":{"unit":2},"n":null,"o":{},"p":{"q":1}}}}`,
	`{"id":"a","request_time":1763884800,"ext":{"t":{"b":{"unit":1,"x":[{}]}},"u":3}}`,
	`{"id":"a","request_time":1763884800,"ext":{"t":{"b":{"amount":"x"}}}}`,
	`{"id":"","request_time":1763884800}`, `{"id":null,"request_time":1763884800}`, `{"id":"a","request_time":null}`,
	`{"id":[],"request_time":1763884800}`, `{"id":"a","request_time":0}`, `{"id":"a","request_time":-1}`,
	`{"timestamp":1763884800,"tokens":10,"model":"m"}`, `{"timestamp":"1763884800","tokens":"x","model":"m"}`,
}

func TestBothDecodersAgreeOnHostileRecords(t *testing.T) {
	for _, h := range hostile {
		decodeBoth(t, listing(h))
		decodeBoth(t, summaryPage(h))
		decodeBoth(t, listing(detailed(1, noon), h, detailed(2, noon)))
	}
}

// The plain decoder writes an id behind the body; the fast one points into it.
func TestTheFastDecoderReadsWhatTheAPISends(t *testing.T) {
	for name, rec := range map[string]string{
		"as documented": detailed(1, noon),
		"numbers as text": detailed(1, noon, `"request_time":"1793534400"`, `"input_token":"5"`, `"input_price":"0.30"`,
			`"amount":"-1.5e-3"`),
		"ids as numbers": detailed(1, noon, `"id":17`, `"user_id":5`, `"channel_id":"7"`),
		"nulls":          detailed(1, noon, `"user_id":null`, `"input_token":null`, `"amount":null`, `"ext":null`),
		"missing fields": detailed(1, noon, `-ext`, `-channel_id`, `-amount`),
		"another order":  `{"ext":{},"request_time":1793534400,"model":"m","id":"1"}`,
		"charges in ext": detailed(1, noon,
			`"ext":{"tools":{"web_search":{"unit":"each","price":0.001,"usage":3,"amount":0.003}},`+
				`"input_v2":{"image":{"unit":null}}}`),
		"an unknown field": detailed(1, noon, `"region":"eu"`, `"latency":1.25`),
		"escapes":          detailed(1, noon, `"custom_user_id":"a\"b\u00e9"`),
		"float noise":      detailed(1, noon, `"amount":0.30000000000000004`),
		"spaces":           "{ \"id\" : \"1\" ,\n\t\"request_time\" : 1793534400 }",
	} {
		s := &stage{}
		if err := s.addPage(schemas.Page{Body: []byte(listing(rec))}, false); err != nil {
			t.Fatal(err)
		}
		if len(s.recs) != 1 || int(s.recs[0].texts[tID].off) >= s.pages[0].body {
			t.Errorf("%s: left to the plain decoder", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, h := range hostile {
		f.Add([]byte(h))
	}
	f.Add([]byte(detailed(1, noon,
		`"ext":{"input_v2":{"image":{"unit":"mtoken","price":2,"usage":0.00108,"amount":0.00216}}}`)))
	f.Fuzz(func(t *testing.T, rec []byte) {
		decodeBoth(t, `{"data":{"list":[`+string(rec)+`]}}`)
	})
}

func FuzzPage(f *testing.F) {
	for _, p := range []string{
		``, `null`, `[]`, `{}`, `{"data":null}`, `{"data":{}}`, `{"data":{"list":null}}`, `{"data":{"list":{}}}`,
		`{"data":{"list":[]},"data":{"list":[1]}}`, `{"data":{"list":[],"list":[1]}}`, `{"data":{"list":[1],"records":[2]}}`,
		` { "meta" : { "a" : [ 1 , "x" , { } ] } , "data" : { "list" : ` +
			`[ { "id" : "a" , "request_time" : 1763884800 } ] , "total" : 1e5 } } `,
		`{"data":{"list":[{"id":"a","request_time":1763884800}]}} x`, `{"d\u0061ta":{"list":[]}}`, "\xef\xbb\xbf{}",
		summaryPage(`{"timestamp":1763884800,"tokens":10,"model":"m"}`, `{"timestamp":1763884800,"tokens":10,"model":"m"}`),
		listing(detailed(1, noon), detailed(2, noon)),
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		recs := decodeBoth(t, string(body))
		r := derive(t, Options{BatchRows: 2}, wholeDay(string(body)))
		n := r.footer.DayStats
		if int(n.Rows+n.Quarantined+n.Duplicates+n.Ignored) < len(recs) || int(n.Rows) != len(r.rows) ||
			int(n.Quarantined) != len(r.rejects) {
			t.Fatalf("%d records, %d rows, %d rejects, stats %+v", len(recs), len(r.rows), len(r.rejects), n)
		}
		for _, row := range r.rows {
			if extra, ok := row["extra"].(string); ok && !json.Valid([]byte(extra)) {
				t.Fatalf("extra is no JSON: %s", extra)
			}
		}
	})
}
