package transform

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// lines are the rows as id@second-of-the-day#ordinal amount, in order.
func (r result) lines() []string {
	var out []string
	for _, row := range r.rows {
		at := row["request_time"].(string)
		var h, m, s int
		_, _ = fmt.Sscanf(at[len("2026-11-01T"):], "%d:%d:%d", &h, &m, &s)
		out = append(out, fmt.Sprintf("%v@%d#%v %s", row["id"], 3600*h+60*m+s, row["ordinal"],
			rat(row["amount"].(string)).FloatString(2)))
	}
	return out
}

// charge is a record of the day with an id, at a second of it, with an amount.
func charge(id string, second int64, amount string, more ...string) string {
	return detailed(1, dayStart+second, append([]string{`"id":"` + id + `"`, `"total_amount":` + amount,
		`"discount_amount":0`, `"amount":` + amount}, more...)...)
}

// Each case is a page as a Portal may send it whose ids are not one per record.
func TestRecordsOfOneIDAreSeveral(t *testing.T) {
	repeat := func(n int, record func(i int64) string) (out []string) {
		for i := range n {
			out = append(out, record(int64(i)))
		}
		return out
	}
	for _, c := range []struct {
		name    string
		records []string
		rows    []string // nil: only how many
		count   int64
		net     string
		shared  int64
	}{
		{"a charge and its refund in one second, among 200 others",
			append(repeat(200, func(i int64) string { return charge(fmt.Sprint(1000+i), i, "0.00045") }), charge("7", 500, "1"),
				charge("7", 500, "-1")),
			nil, 202, "0.09", 2},
		{"a charge and its refund in one second",
			[]string{charge("7", 500, "1"), charge("7", 500, "-1")},
			[]string{"7@500#1 -1.00", "7@500#2 1.00"}, 2, "0", 2},
		{"an id again hours later, and another after it",
			[]string{charge("7", 100, "1"), charge("7", 20_100, "2"), charge("8", 30_100, "4")},
			[]string{"7@100#1 1.00", "7@20100#1 2.00", "8@30100#1 4.00"}, 3, "7", 2},
		{"an id again after another, at the ends of the day",
			[]string{charge("7", 86399, "1"), charge("8", 50, "4"), charge("7", 0, "2")},
			[]string{"7@0#1 2.00", "8@50#1 4.00", "7@86399#1 1.00"}, 3, "7", 2},
		{"twenty of one id that is none, in different seconds",
			repeat(20, func(i int64) string { return charge("None", i, "1") }), nil, 20, "20", 20},
		{"twenty of one id that is none, in one second",
			repeat(20, func(i int64) string { return charge("None", 5, fmt.Sprint(i)) }), nil, 20, "190", 20},
		{"twenty of the id null, twice each",
			append(repeat(20, func(i int64) string { return charge("null", 5, fmt.Sprint(i)) }),
				repeat(20, func(i int64) string { return charge("null", 5, fmt.Sprint(i)) })...),
			nil, 20, "190", 20},
		{"ids modulo 1024",
			repeat(2500, func(i int64) string { return charge(fmt.Sprint(i%1024), i*30, "1") }), nil, 2500, "2500", 2500},
		{"ids modulo 3, in three seconds",
			repeat(300, func(i int64) string { return charge(fmt.Sprint(i%3), i%3, fmt.Sprint(i)) }), nil, 300, "44850", 300},
		{"two of one id in one second, with nothing else", []string{charge("7", 9, "1"), charge("7", 9, "2")},
			[]string{"7@9#1 1.00", "7@9#2 2.00"}, 2, "3", 2},
		{"two of one id a second apart, with nothing else", []string{charge("7", 10, "1"), charge("7", 9, "2")},
			[]string{"7@9#1 2.00", "7@10#1 1.00"}, 2, "3", 2},
		{"two of one id five seconds apart, with nothing else", []string{charge("7", 9, "1"), charge("7", 14, "1")},
			[]string{"7@9#1 1.00", "7@14#1 1.00"}, 2, "2", 2},
		{"two of one id 300 seconds apart, with nothing else", []string{charge("7", 9, "1"), charge("7", 309, "1")},
			[]string{"7@9#1 1.00", "7@309#1 1.00"}, 2, "2", 2},
		{"three of one id in one second: a retry over another channel, and a settlement",
			[]string{charge("7", 9, "1", `"channel_id":1`), charge("7", 9, "1", `"channel_id":2`),
				charge("7", 9, "0.5", `"channel_id":2`)},
			[]string{"7@9#1 0.50", "7@9#2 1.00", "7@9#3 1.00"}, 3, "2.5", 3},
		{"ids of 19 digits that differ in the last", []string{charge("9223372036854775807", 9, "1"),
			charge("9223372036854775806", 9, "2")},
			[]string{"9223372036854775806@9#1 2.00", "9223372036854775807@9#1 1.00"}, 2, "3", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			windows := map[string][]schemas.Sealed{"in order": {wholeDay(listing(c.records...))}}
			backwards := slices.Clone(c.records)
			slices.Reverse(backwards)
			windows["backwards, in pages"] = []schemas.Sealed{wholeDay(listing(backwards[:1]...), listing(backwards[1:]...))}
			var rewritten []string
			for _, r := range c.records {
				rewritten = append(rewritten, oneForm(r))
			}
			windows["with other keys first"] = []schemas.Sealed{wholeDay(listing(rewritten...))}
			windows["each twice, rewritten"] = []schemas.Sealed{wholeDay(listing(slices.Concat(c.records, rewritten)...))}
			windows["cut into windows"] = []schemas.Sealed{sealed(1, 0, 9, listing(c.records...)),
				sealed(2, 9, 10, listing(c.records...)), sealed(3, 10, 86400, listing(c.records...))}
			for i := range windows["cut into windows"] { // its records are those of the whole day
				windows["cut into windows"][i].Seal.AskedStart, windows["cut into windows"][i].Seal.AskedEnd = dayStart, dayEnd
			}
			for _, name := range slices.Sorted(maps.Keys(windows)) {
				r := derive(t, Options{}, windows[name]...)
				if c.rows != nil {
					equal(t, name+": rows", strings.Join(r.lines(), ", "), strings.Join(c.rows, ", "))
				}
				equal(t, name+": count", r.footer.Rows, c.count)
				equal(t, name+": net", r.footer.Amount, c.net)
				equal(t, name+": rejects", len(r.rejects), 0)
				keys := map[string]int{}
				for _, row := range r.rows {
					keys[fmt.Sprint(row["request_time"], row["id"], row["ordinal"])]++
				}
				equal(t, name+": keys", int64(len(keys)), c.count)
				if c.shared > 0 && name != "cut into windows" {
					i := r.issue(t, schemas.CheckShared)
					equal(t, name+": shared", fmt.Sprint(i.Severity, " ", i.Count), fmt.Sprint("info ", c.shared))
				} else if name != "cut into windows" && strings.Contains(r.issues(), schemas.CheckShared) {
					t.Errorf("%s: %s", name, r.issues())
				}
				if strings.Contains(r.issues(), schemas.CheckAlike) {
					t.Errorf("%s: %s", name, r.issues())
				}
			}
		})
	}
}

func TestTheSameContentCountsOnce(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		rows, dups int64
		alike      bool
	}{
		{"the same bytes", charge("7", 9, "1"), charge("7", 9, "1"), 1, 1, false},
		{"other spaces", charge("7", 9, "1"), strings.ReplaceAll(charge("7", 9, "1"), ",", " ,\n "), 1, 1, false},
		{"other keys first", charge("7", 9, "1", `"ext":{"a":{"b":{"price":1,"amount":2}}}`),
			oneForm(charge("7", 9, "1", `"ext":{"a":{"b":{"price":1,"amount":2}}}`)), 1, 1, false},
		{"a letter escaped", charge("7", 9, "1", `"model":"é"`), charge("7", 9, "1", `"model":"\u00e9"`), 1, 1, false},
		{"an amount with a digit more", charge("7", 9, "1"), charge("7", 9, "1.00"), 2, 0, true},
		{"a field that changes with each answer", charge("7", 9, "1", `"age":1`), charge("7", 9, "1", `"age":2`), 2, 0, true},
		{"the same without a field", charge("7", 9, "1"), charge("7", 9, "1", `"extra":null`), 2, 0, true},
		{"bytes that are no UTF-8", charge("7", 9, "1", "\"custom_user_id\":\"\xfe\""),
			charge("7", 9, "1", "\"custom_user_id\":\"\xff\""), 2, 0, true},
		{"halves of a pair", charge("7", 9, "1", `"custom_user_id":"\ud800"`),
			charge("7", 9, "1", `"custom_user_id":"\ud801"`), 2, 0, true},
		{"another token", charge("7", 9, "1"), charge("7", 9, "1", `"token_id":"x"`), 2, 0, false},
		{"another channel", charge("7", 9, "1"), charge("7", 9, "1", `"channel_id":43`), 2, 0, false},
		{"an ext charge more", charge("7", 9, "1"), charge("7", 9, "1", `"ext":{"a":{"b":{"amount":2}}}`), 2, 0, false},
		{"NULL and 0", charge("7", 9, "1", `"cached_token":0`), charge("7", 9, "1", `"cached_token":null`), 2, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rows []string
			for name, w := range map[string]schemas.Sealed{
				"on a page": wholeDay(listing(c.a, c.b)), "on two": wholeDay(listing(c.a), listing(c.b)),
				"turned": wholeDay(listing(c.b), listing(c.a)),
			} {
				r := derive(t, Options{}, w)
				equal(t, name+": rows", r.footer.Rows, c.rows)
				equal(t, name+": duplicates", r.footer.Duplicates, c.dups)
				equal(t, name+": alike", strings.Contains(r.issues(), fmt.Sprintf("%s[id,]x2", schemas.CheckAlike)), c.alike)
				if c.dups > 0 {
					equal(t, name+": severity", r.issue(t, schemas.CheckDuplicate).Severity, schemas.Warning)
				}
				if c.alike {
					equal(t, name+": severity", r.issue(t, schemas.CheckAlike).Severity, schemas.Failure)
				}
				equal(t, name+": records of the window", r.footer.Windows[0].Records, c.rows)
				rows = append(rows, r.text)
			}
			equal(t, "the same rows", len(slices.Compact(rows)), 1)
		})
	}
}

func TestARejectIsOneOfItsID(t *testing.T) {
	bad := charge("7", 9, `"x"`)
	r := derive(t, Options{}, wholeDay(listing(bad, charge("7", 9, "1"), charge("7", 9, "2"), oneForm(bad))))
	equal(t, "rows", strings.Join(r.lines(), ", "), "7@9#1 1.00, 7@9#2 2.00")
	equal(t, "rejects", r.reasons(), "not_a_number/total_amount")
	equal(t, "duplicates", r.footer.Duplicates, 1)
}

func TestManyRecordsOfOneIDAndSecondTakeNoTimeToSpeakOf(t *testing.T) {
	var recs []string
	for i := range 20_000 {
		recs = append(recs, charge("None", 9, fmt.Sprint(i)))
	}
	r := derive(t, Options{}, wholeDay(listing(recs...)))
	equal(t, "rows", r.footer.Rows, 20_000)
	equal(t, "last", fmt.Sprint(r.rows[19_999]["ordinal"]), "20000")
}

func TestAWindowCountsWhatLiesWithinIt(t *testing.T) {
	border := []string{detailed(3, noon), detailed(4, noon, `"amount":"x"`), detailed(5, noon)}
	r := derive(t, Options{},
		sealed(1, 0, 43200, listing(append(border, detailed(1, dayStart-1), detailed(2, dayStart), `"no record"`)...)),
		sealed(2, 43200, 86400, listing(append(border, detailed(6, noon-1), detailed(7, dayEnd-1), detailed(8, dayEnd))...)),
		sealed(3, 100, 200, listing(detailed(9, dayStart+99), detailed(10, dayStart+150))),
		sealed(4, 100, 200, listing(detailed(10, dayStart+150))))
	var got []string
	sum := int64(0)
	for _, w := range r.footer.Windows {
		got = append(got, fmt.Sprint(w.Records))
		if w.Owns {
			sum += w.Records
		}
	}
	equal(t, "records", strings.Join(got, " "), "2 4 0 1")
	equal(t, "in all", sum, r.footer.Rows+r.footer.Quarantined)
}

func TestAWindowSaysWhatTheSealDoes(t *testing.T) {
	w := wholeDay(listing(detailed(1, dayStart-1), detailed(2, noon)))
	announced := int64(5)
	w.Seal.Announced, w.Seal.Records, w.Seal.PageSize, w.Seal.PageRecords, w.Seal.Lacking, w.Seal.Proof = &announced, 2,
		100, 50, 3, schemas.ProofNone
	r := derive(t, Options{}, w)
	got := r.footer.Windows[0]
	equal(t, "figures", fmt.Sprint(got.Records, got.Listed, *got.Announced, got.Lacking, got.PageSize, got.PageRecords,
		got.AskedStart-dayStart, got.AskedEnd-dayEnd), "1 2 5 3 100 50 -1 0")
	i := r.issue(t, schemas.CheckIncomplete)
	equal(t, "issue", fmt.Sprint(i.Severity, " ", i.Count, " ", i.Detail),
		"error 3 window acme 2026-11-01T00:00:00Z/2026-11-02T00:00:00Z: the API announced 5, 2 could be had: 3 lack")
	w.Seal.Lacking, w.Seal.Announced = 0, nil
	i = derive(t, Options{}, w).issue(t, schemas.CheckIncomplete)
	equal(t, "issue", fmt.Sprint(i.Severity, " ", i.Count), "warning 1")
	for proof, want := range map[string]string{schemas.ProofTotal: "",
		schemas.ProofParts: schemas.CheckTotal + "[total,]x1", schemas.ProofRepeat: schemas.CheckTotal + "[total,]x1"} {
		w.Seal.Proof, w.Seal.Announced = proof, &announced
		equal(t, proof, derive(t, Options{}, w).issues(), want)
	}
}

// A record in milliseconds at the second between two windows, or two days, is quarantined once.
func TestATimeInAFinerUnitPlacesTheReject(t *testing.T) {
	at := func(id int, second int64, unit string) string {
		return detailed(id, second, fmt.Sprintf(`"request_time":%d%s`, second, unit))
	}
	for _, unit := range []string{"000", "123", "000000", "123456", "000000000", "123456789", "000.5"} {
		border := at(1, noon, unit)
		r := derive(t, Options{}, sealed(1, 0, 43200, listing(border, at(2, dayStart-1, unit))),
			sealed(2, 43200, 86400, listing(border, at(3, dayEnd, unit))))
		equal(t, unit+": rejects", r.reasons(), "time_unit/request_time")
		equal(t, unit+": window", r.rejects[0].Window.Start.Unix(), noon)
		equal(t, unit+": margins", fmt.Sprint(r.footer.Before, r.footer.After), "1 1")
	}
	// One that means nothing near is unplaced.
	for _, far := range []string{"100000000000", "99999999999999999999", "1e300", fmt.Sprintf("%d000", dayEnd+86400)} {
		r := derive(t, Options{}, sealed(1, 0, 43200, listing(detailed(1, noon, `"request_time":`+far))),
			sealed(2, 43200, 86400, listing()))
		equal(t, far, r.reasons(), "time_unit/request_time")
		equal(t, far, r.footer.Quarantined, 1)
	}
}

// The API filters by when a call was settled, up to 35 s after the time it shows.
func TestWhatAnotherClockListsIsItsOwnersAndCountsOnceOutsideTheDay(t *testing.T) {
	type call struct {
		start, settled int64
		id             int
	}
	var calls []call
	for i := int64(-200); i < 86400+200; i += 50 {
		calls = append(calls, call{i, i + (i%36+36)%36, int(i) + 1000})
	}
	list := func(seq int, from, to, margin int64) schemas.Sealed {
		var recs []string
		for _, c := range calls {
			if c.settled >= from-margin && c.settled <= to+margin {
				recs = append(recs, detailed(c.id, dayStart+c.start))
			}
		}
		w := sealed(seq, from, to, listing(recs...))
		w.Seal.AskedStart, w.Seal.AskedEnd = dayStart+from-margin, dayStart+to+margin
		return w
	}
	held := int64(0)
	for _, c := range calls {
		if c.settled >= -40 && c.settled <= 86400+40 {
			held++
		}
	}
	r := derive(t, Options{}, list(1, 0, 10, 40), list(2, 10, 20, 40), list(3, 20, 43200, 40), list(4, 43200, 86390, 40),
		list(5, 86390, 86400, 40))
	equal(t, "rows", r.footer.Rows, 86400/50)
	equal(t, "rejects", r.reasons(), "")
	equal(t, "held", r.footer.Rows+r.footer.Before+r.footer.After, held)
}

func TestWhatTheOwnerDoesNotListIsAnError(t *testing.T) {
	early := func(more ...string) schemas.Sealed {
		return sealed(1, 0, 43200, listing(append(more, detailed(1, noon-100))...))
	}
	late := sealed(2, 43200, 86400, listing(detailed(2, noon-50), detailed(3, noon-1), detailed(4, noon+1)))
	r := derive(t, Options{}, early(detailed(2, noon-50)), late)
	equal(t, "issues", r.issues(), "")
	r = derive(t, Options{}, early(), late)
	i := r.issue(t, schemas.CheckUnlisted)
	equal(t, "issue", fmt.Sprint(i.Severity, " ", i.Count, " ", i.SampleID), "error 1 2")
	equal(t, "rows", r.ids(), "1 4")
	// The time of several windows, none of which has them.
	r = derive(t, Options{}, sealed(1, 0, 43150, listing()), sealed(2, 43150, 43170, listing()),
		sealed(3, 43170, 43200, listing()), sealed(4, 43200, 86400,
			listing(detailed(1, noon-90), detailed(2, noon-45), detailed(3, noon-20), detailed(4, noon+1))))
	equal(t, "of several", fmt.Sprint(r.issues(), r.ids()), schemas.CheckUnlisted+"[request_time,]x3"+"4")
	// Of a later window that took the time over, and has it, or not.
	r = derive(t, Options{}, early(), late, sealed(3, 43100, 43200, listing(detailed(2, noon-50), detailed(3, noon-1))))
	equal(t, "issues", r.issues(), "")
	r = derive(t, Options{}, early(detailed(2, noon-50)), late, sealed(3, 43100, 43200, listing(detailed(3, noon-1))))
	equal(t, "issues", r.issues(), schemas.CheckUnlisted+"[request_time,]x1")
}
