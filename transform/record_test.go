package transform

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// one derives a day of one record, which must become a row, by both decoders.
func one(t *testing.T, changes ...string) row {
	t.Helper()
	page := listing(detailed(1, noon, changes...))
	decodeBoth(t, page)
	r := derive(t, Options{}, wholeDay(page))
	if len(r.rows) != 1 || len(r.rejects) != 0 {
		t.Fatalf("%v: %d rows, rejects %s", changes, len(r.rows), r.reasons())
	}
	return r.rows[0]
}

func TestValuesAreReadInEverySpelling(t *testing.T) {
	for _, c := range []struct {
		change, column string
		want           any
	}{
		{`"id":7318349394477056`, "id", "7318349394477056"},
		{`"id":1e3`, "id", "1e3"},
		{`"id":"a/b"`, "id", "a/b"},
		{`"user_id":10023`, "user_id", "10023"},
		{`"user_id":""`, "user_id", ""},
		{`"user_id":null`, "user_id", nil},
		{`-user_id`, "user_id", nil},
		{`"token_id":5.0`, "token_id", "5.0"},
		{`"custom_user_id":"Zo\u00eb \"\\\/\n\ud83d\ude00"`, "custom_user_id", "Zoë \"\\/\n😀"},
		{`"custom_user_id":"\ud800x"`, "custom_user_id", "\ufffdx"},
		{`"custom_user_id":"\u0000"`, "custom_user_id", "\x00"},
		{"\"custom_user_id\":\"a\xffb\"", "custom_user_id", "a\ufffdb"},
		{`"model":"` + strings.Repeat("m", 70_000) + `"`, "model", strings.Repeat("m", 70_000)},
		{`"channel_id":"42"`, "channel_id", json.Number("42")},
		{`"channel_id":null`, "channel_id", nil},
		{`"input_token":"1234"`, "input_tokens", json.Number("1234")},
		{`"input_token":1234.0`, "input_tokens", json.Number("1234")},
		{`"input_token":1e3`, "input_tokens", json.Number("1000")},
		{`"input_token":12345e-1`, "input_tokens", nil},
		{`"input_token":120e-1`, "input_tokens", json.Number("12")},
		{`"input_token":-7`, "input_tokens", json.Number("-7")},
		{`"input_token":9223372036854775807`, "input_tokens", nil}, // the total is beyond 64 bits
		{`"input_token":null`, "input_tokens", nil},
		{`"input_token":null`, "total_tokens", json.Number("110")},
		{`"input_price":"0.3"`, "input_price", "0.3"},
		{`"input_price":2.58e-8`, "input_price", "2.58E-8"},
		{`"input_price":0.30000000000000004`, "input_price", "0.3"},
		{`"input_price":0.0000000000005`, "input_price", "0"},
		{`"input_price":0.0000000000015`, "input_price", "2E-12"},
		{`"amount":-12.5`, "amount", "-12.5"},
		{`"amount":98765.432109876543`, "amount", "98765.432109876543"},
		{`"amount":999999.999999999999`, "amount", "999999.999999999999"},
		{`"amount":null`, "amount", nil},
		{`-amount`, "amount", nil},
		{`"request_time":"` + fmt.Sprint(noon) + `"`, "request_time", "2026-11-01T12:00:00Z"},
		{`"request_time":` + fmt.Sprint(noon) + `.1234567`, "request_time", "2026-11-01T12:00:00.123456Z"},
		{`"request_time":1.7935344e9`, "request_time", "2026-11-01T12:00:00Z"},
	} {
		t.Run(c.change[:min(len(c.change), 60)], func(t *testing.T) {
			page := listing(detailed(1, noon, c.change))
			decodeBoth(t, page)
			r := derive(t, Options{}, wholeDay(page))
			if len(r.rows) != 1 {
				if c.want != nil {
					t.Fatalf("no row: %s", r.reasons())
				}
				return
			}
			got := r.rows[0][c.column]
			if s, ok := got.(string); ok && strings.Contains(c.column, "price") {
				// Arrow's JSON spells small decimals with an exponent; compare values.
				a, errA := schemas.ParseDecimal([]byte(s))
				b, errB := schemas.ParseDecimal([]byte(c.want.(string)))
				if errA != nil || errB != nil || a != b {
					t.Errorf("%s is %v, want %v", c.column, got, c.want)
				}
				return
			}
			if got != c.want {
				t.Errorf("%s is %v, want %v", c.column, got, c.want)
			}
		})
	}
}

func TestWhatCanNotBeAColumnIsQuarantinedWithAReason(t *testing.T) {
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	for _, c := range []struct{ change, want string }{
		{`-id`, "no_id/id"}, {`"id":null`, "no_id/id"}, {`"id":""`, "no_id/id"}, {`"id":{}`, "wrong_type/id"},
		{`"id":true`, "wrong_type/id"},
		{`-request_time`, "no_time/request_time"},
		{`"request_time":null`, "no_time/request_time"},
		{`"request_time":0`, "no_time/request_time"},
		{`"request_time":-5`, "no_time/request_time"},
		{`"request_time":"2026-11-01"`, "no_time/request_time"},
		{`"request_time":[]`, "no_time/request_time"},
		{`"request_time":0.0000001`, "no_time/request_time"},
		{`"request_time":1793534400000`, "time_unit/request_time"},
		{`"request_time":100000000000`, "time_unit/request_time"},
		{`"request_time":1e300`, "time_unit/request_time"},
		{`"request_time":99999999999`, "not_asked/request_time"},
		{`"input_token":1.5`, "not_an_integer/input_token"},
		{`"input_token":""`, "not_an_integer/input_token"},
		{`"input_token":" 1"`, "not_an_integer/input_token"},
		{`"input_token":true`, "not_an_integer/input_token"},
		{`"output_token":{}`, "not_an_integer/output_token"},
		{`"output_token":"NaN"`, "not_an_integer/output_token"},
		{`"cached_token":9223372036854775808`, "out_of_range/cached_token"},
		{`"cached_token":1e999999999`, "out_of_range/cached_token"},
		{`"cached_token":9223372036854775807`, "out_of_range/total_tokens"},
		{`"channel_id":"us-east"`, "not_an_integer/channel_id"},
		{`"input_price":"NaN"`, "not_a_number/input_price"},
		{`"input_price":"Infinity"`, "not_a_number/input_price"},
		{`"input_price":""`, "not_a_number/input_price"},
		{`"input_price":[]`, "not_a_number/input_price"},
		{`"amount":1000000`, "out_of_range/amount"},
		{`"amount":` + strings.Repeat("9", 10_000), "out_of_range/amount"},
		{`"total_amount":999999.9999999999995`, "out_of_range/total_amount"},
		{`"model":true`, "wrong_type/model"}, {`"model":["a"]`, "wrong_type/model"},
		{`"ext":{"tools":{"web_search":{"unit":"each","amount":"x"}}}`, "not_a_number/ext.tools.web_search.amount"},
		{`"ext":{"tools":{"web_search":{"usage":1e9}}}`, "out_of_range/ext.tools.web_search.usage"},
		{`"ext":{"tools":{"web_search":{"unit":{}}}}`, "wrong_type/ext.tools.web_search.unit"},
		{`"deep":` + deep, "unreadable"},
	} {
		t.Run(c.change[:min(len(c.change), 60)], func(t *testing.T) {
			rec := detailed(1, noon, c.change)
			decodeBoth(t, listing(rec))
			r := derive(t, Options{}, wholeDay(listing(rec)))
			equal(t, "reason", r.reasons(), c.want)
			equal(t, "rows", len(r.rows), 0)
			if len(r.rejects) == 1 {
				equal(t, "raw", string(r.rejects[0].Raw), rec)
			}
		})
	}
	for _, rec := range []string{`null`, `3`, `"x"`, `[]`} {
		r := derive(t, Options{}, wholeDay(listing(rec)))
		equal(t, rec, r.reasons(), "not_an_object")
	}
}

func TestADepthThatCanBeReadIsKept(t *testing.T) {
	deep := strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)
	equal(t, "extra", one(t, `"deep":`+deep)["extra"], any(`{"deep":`+deep+`}`))
}

func TestExtBecomesItemsAndTheRestIsKept(t *testing.T) {
	for _, c := range []struct{ name, ext, items, extra, unknown string }{
		{"absent", `-ext`, `null`, ``, ``},
		{"null", `"ext":null`, `null`, ``, ``},
		{"empty", `"ext":{}`, `[]`, ``, ``},
		{"empty in a string", `"ext":"{}"`, `[]`, ``, ``},
		{"empty string", `"ext":""`, `null`, `{"ext":""}`, ``},
		{"no JSON", `"ext":"oops"`, `null`, `{"ext":"oops"}`, ``},
		{"two values in a string", `"ext":"{} {}"`, `null`, `{"ext":"{} {}"}`, ``},
		{"number", `"ext":7`, `null`, `{"ext":7}`, ``},
		{"array", `"ext":[{"a":1.0}]`, `null`, `{"ext":[{"a":1.0}]}`, ``},
		{"groups", `"ext":{"tools":{"web_search":{"unit":"each","price":0.001,"usage":3,"amount":0.003}},` +
			`"input_v2":{"video":{"amount":"2"},"image":{"unit":null,"price":null}}}`,
			`[{"amount":null,"category":"input_v2","item":"image","price":null,"unit":null,"usage":null},` +
				`{"amount":"2","category":"input_v2","item":"video","price":null,"unit":null,"usage":null},` +
				`{"amount":"0.003","category":"tools","item":"web_search","price":"0.001","unit":"each","usage":"3"}]`, ``, ``},
		{"groups in a string", `"ext":"{\"tools\":{\"x\":{\"amount\":1}}}"`,
			`[{"amount":"1","category":"tools","item":"x","price":null,"unit":null,"usage":null}]`, ``, ``},
		{"empty and null groups", `"ext":{"tools":{},"input_v2":null,"output_v2":{"audio":null}}`, `[]`, ``, ``},
		{"a member beyond", `"ext":{"t":{"x":{"amount":1,"tier":{"b":1,"a":2.50}}}}`,
			`[{"amount":"1","category":"t","item":"x","price":null,"unit":null,"usage":null}]`,
			`{"ext":{"t":{"x":{"tier":{"a":2.50,"b":1}}}}}`, `ext.t.x.tier`},
		{"no groups", `"ext":{"n":3,"l":[1],"flat":{"unit":"each","price":1},"t":{"none":{},"other":{"a":1}}}`, `[]`,
			`{"ext":{"flat":{"price":1,"unit":"each"},"l":[1],"n":3,"t":{"none":{},"other":{"a":1}}}}`,
			`ext.flat.price ext.flat.unit ext.l ext.n ext.t.none ext.t.other`},
		{"the last of equal keys", `"ext":{"t":{"x":{"amount":1}},"t":{"y":{"amount":2,"amount":3},"y":{"amount":4}}}`,
			`[{"amount":"4","category":"t","item":"y","price":null,"unit":null,"usage":null}]`, ``, ``},
		{"a long name", `"ext":{"t":{"` + strings.Repeat("n", 257) + `":{"amount":1}}}`, `[]`,
			`{"ext":{"t":{"` + strings.Repeat("n", 257) + `":{"amount":1}}}}`, `ext.t.` + strings.Repeat("n", 194)},
	} {
		t.Run(c.name, func(t *testing.T) {
			page := listing(detailed(1, noon, c.ext))
			decodeBoth(t, page)
			r := derive(t, Options{}, wholeDay(page))
			if len(r.rows) != 1 {
				t.Fatal(r.reasons())
			}
			items, _ := json.Marshal(r.rows[0]["ext_items"])
			equal(t, "items", string(items), c.items)
			extra, _ := r.rows[0]["extra"].(string)
			equal(t, "extra", extra, c.extra)
			var unknown []string
			for _, i := range r.footer.Issues {
				if i.Check == schemas.CheckUnknown {
					unknown = append(unknown, i.Field)
				}
			}
			equal(t, "unknown", strings.Join(unknown, " "), c.unknown)
			if c.items == "null" && c.extra != "" {
				equal(t, "issue", r.issue(t, schemas.CheckExt).Count, 1)
			}
		})
	}
}

func TestAnExtOfTooManyItemsIsKeptUnread(t *testing.T) {
	var items []string
	for i := range maxItems + 1 {
		items = append(items, fmt.Sprintf(`"i%06d":{"amount":0}`, i))
	}
	r := one(t, `"ext":{"t":{`+strings.Join(items, ",")+`}}`)
	equal(t, "items", r["ext_items"], any(nil))
	if !strings.Contains(r["extra"].(string), "i004096") {
		t.Error("extra does not hold the items")
	}
	if n := len(one(t, `"ext":{"t":{`+strings.Join(items[:maxItems], ",")+`}}`)["ext_items"].([]any)); n != maxItems {
		t.Errorf("%d items", n)
	}
}

func TestExtraHoldsEveryUnknownField(t *testing.T) {
	for _, c := range []struct {
		changes []string
		extra   any
	}{
		{nil, nil},
		{[]string{`"b":1.50`, `"a":"x"`, `"c":null`}, `{"a":"x","b":1.50,"c":null}`},
		{[]string{`"z": { "y" : [ 1e5 , true ] , "x" : "A" }`}, `{"z":{"x":"A","y":[1e5,true]}}`},
		{[]string{`"a":"\u0041\/\n\u0001\u2028<"`}, `{"a":"A/\n\u0001` + "\u2028" + `<"}`},
		{[]string{"\"a\xff\":\"\xff\""}, "{\"a\ufffd\":\"\ufffd\"}"},
		{[]string{`"Model":"case"`, `"timestamp":1`}, `{"Model":"case","timestamp":1}`},
		{[]string{`"tokens":5,"tokens":6`}, `{"tokens":6}`},
	} {
		equal(t, fmt.Sprint(c.changes), one(t, c.changes...)["extra"], c.extra)
	}
}

func TestTheLastOfEqualKeysCounts(t *testing.T) {
	r := derive(t, Options{},
		wholeDay(listing(fmt.Sprintf(`{"id":"a","model":"x","request_time":%d,"model":"y","\u0069d":"b"}`, noon))))
	equal(t, "ids", r.ids(), "b")
	equal(t, "model", r.rows[0]["model"], any("y"))
}

func TestSummaryRecordsLoadWithAMadeUpID(t *testing.T) {
	rec := fmt.Sprintf(`{"timestamp":%d,"tokens":1024,"model":"gpt-4o-mini"}`, noon)
	spaced := fmt.Sprintf(` { "model":"gpt-4o-mini", "tokens":1024 , "timestamp" :%d } `, noon)
	page := summaryPage(rec, spaced, fmt.Sprintf(`{"timestamp":"%d","tokens":"7","model":"m","region":"eu","user_id":5}`,
		noon+1))
	decodeBoth(t, page)
	r := derive(t, Options{}, wholeDay(page))
	if len(r.rows) != 3 {
		t.Fatal(r.reasons())
	}
	a, b, c := r.rows[0], r.rows[1], r.rows[2]
	equal(t, "kind", a["record_kind"], any("summary"))
	equal(t, "total", a["total_tokens"], any(json.Number("1024")))
	equal(t, "input", a["input_tokens"], nil)
	equal(t, "amount", a["amount"], nil)
	equal(t, "first", a["id"], any("summary-1793534400-100c2dbd2955-1"))
	equal(t, "second of its kind", b["id"], any("summary-1793534400-100c2dbd2955-2"))
	equal(t, "extra", c["extra"], any(`{"region":"eu"}`))
	equal(t, "user", c["user_id"], any("5"))
	equal(t, "issues", r.issues(), "no_amount[amount,gpt-4o-mini]x2 no_amount[amount,m]x1 unknown_field[region,]x1")
	again := derive(t, Options{}, wholeDay(summaryPage(spaced, rec)))
	equal(t, "again", again.ids(), "summary-1793534400-100c2dbd2955-1 summary-1793534400-100c2dbd2955-2")

	bad := derive(t, Options{}, wholeDay(summaryPage(`{"tokens":1}`, fmt.Sprintf(`{"timestamp":%d,"tokens":1.5}`, noon))))
	equal(t, "rejects", bad.reasons(), "no_time/request_time not_an_integer/tokens")
}

func TestAPageOfBothShapesGivesBoth(t *testing.T) {
	r := derive(t, Options{}, wholeDay(fmt.Sprintf(`{"data":{"records":[{"timestamp":%d,"tokens":1}],"list":[%s]}}`,
		noon-1, detailed(1, noon))))
	equal(t, "kinds", fmt.Sprint(r.rows[0]["record_kind"], r.rows[1]["record_kind"]), "summaryrequest")
}

func TestColumnsOfTheWindow(t *testing.T) {
	r := one(t)
	equal(t, "account", r["account"], any("acme"))
	equal(t, "date", r["usage_date"], any("2026-11-01"))
	equal(t, "fetched", r["fetched_at"], any("2026-11-03T07:33:21Z"))
	equal(t, "run", r["run_id"], any("run-1"))
	equal(t, "currency", r["currency"], any("USD"))
	w := wholeDay(listing(detailed(1, noon)))
	w.Seal.Currency = ""
	d := derive(t, Options{}, w)
	equal(t, "currency", d.rows[0]["currency"], nil)
	equal(t, "issue", d.issue(t, schemas.CheckCurrency).Count, 1)
}
