package transform

import (
	"fmt"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// A record of detailed is charged 1000×3 + 100×15 + 10×0.3 millionths: 0.004503.

func TestChecksFindWhatDoesNotAddUp(t *testing.T) {
	const model = "claude-sonnet-4"
	ext := `"ext":{"tools":{"web_search":{"unit":"each","price":0.001,"usage":3,"amount":0.003}}}`
	for _, c := range []struct {
		name    string
		changes []string
		want    string
	}{
		{"sound", nil, ""},
		{"gross", []string{`"total_amount":0.0046`, `"amount":0.0036`}, "gross_mismatch[total_amount," + model + "]x1"},
		{"gross within the rounding of three parts", []string{`"total_amount":0.004503000003`, `"amount":0.003503000003`},
			""},
		{"gross beyond it", []string{`"total_amount":0.004503000004`, `"amount":0.003503000004`},
			"gross_mismatch[total_amount," + model + "]x1"},
		{"gross with ext", []string{ext, `"total_amount":0.007503`, `"amount":0.006503`}, ""},
		{"ext not charged", []string{ext}, "gross_mismatch[total_amount," + model + "]x1"},
		{"price missing where there were tokens", []string{`"input_price":null`}, ""},
		{"price missing where there were none", []string{`"cached_token":0`, `"cached_price":null`},
			"gross_mismatch[total_amount," + model + "]x1"},
		{"ext without amount", []string{`"ext":{"t":{"x":{"unit":"each"}}}`, `"total_amount":7`, `"amount":6.999`}, ""},
		{"refund", []string{`"input_token":-1000`, `"output_token":-100`, `"cached_token":-10`, `"total_amount":-0.004503`,
			`"discount_amount":-0.001`, `"amount":-0.003503`},
			"negative_count[cached_token," + model + "]x1 negative_count[input_token," + model +
				"]x1 negative_count[output_token," + model + "]x1"},
		{"as large as it gets", []string{`"input_token":9223372036854775000`, `"input_price":999999.999999999999`,
			`"output_token":0`, `"cached_token":0`},
			"gross_mismatch[total_amount," + model + "]x1"},
		{"net", []string{`"amount":0.003503000001`}, "net_mismatch[amount," + model + "]x1"},
		{"net within what rounding loses", []string{`"total_amount":0.0045030000014`, `"discount_amount":0.0010000000007`,
			`"amount":0.0035030000007`}, ""},
		{"net beyond it", []string{`"total_amount":0.0045030000014`, `"amount":0.003503000004`},
			"net_mismatch[amount," + model + "]x1"},
		{"float noise", []string{`"total_amount":0.004502999999999999`, `"discount_amount":0.0010000000000000002`}, ""},
		{"no discount", []string{`"discount_amount":null`}, ""},
		{"no amount", []string{`"amount":null`}, "no_amount[amount," + model + "]x1"},
		{"drift", []string{`"region":"eu"`, `-channel_id`, `-ext`}, "missing_field[channel_id,]x1 unknown_field[region,]x1"},
		{"new group", []string{`"ext":{"output_v9":{"smell":{"amount":0}}}`}, ""},
		{"bad ext", []string{`"ext":"?"`}, "unreadable_ext[ext,]x1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := derive(t, Options{}, wholeDay(listing(detailed(1, noon, c.changes...))))
			equal(t, "issues", r.issues(), c.want)
			for _, i := range r.footer.Issues {
				equal(t, "sample", i.SampleID, "1")
			}
		})
	}
}

func TestIssuesCarryExactFigures(t *testing.T) {
	r := derive(t, Options{}, wholeDay(listing(
		detailed(1, noon, `"total_amount":0.1`, `"amount":0.000000000001`),
		detailed(2, noon+1, `"total_amount":0.2`, `"amount":0.199`))))
	gross := r.issue(t, schemas.CheckGross)
	equal(t, "gross", gross.Detail, "prices × tokens and ext amounts make 0.004503, the API says 0.1")
	equal(t, "gross records", gross.Count, 2)
	equal(t, "severity", gross.Severity, schemas.Warning)
	net := r.issue(t, schemas.CheckNet)
	equal(t, "net", net.Detail, "0.1 - 0.001 is 0.099, the API says 0.000000000001")
	equal(t, "severity", net.Severity, schemas.Failure)
}

func TestAPriceThatChangesIsNamedWithItsTime(t *testing.T) {
	r := derive(t, Options{}, wholeDay(listing(
		detailed(4, noon+3, `"input_price":2.5`), detailed(1, noon), detailed(3, noon+2, `"input_price":2.5`),
		detailed(5, noon+4),
		detailed(6, noon+5, `"input_token":0`, `"input_price":0`), detailed(7, noon, `"model":"other"`, `"input_price":9`))))
	i := r.issue(t, schemas.CheckPrice)
	equal(t, "detail", i.Detail, "3; 2.5 from 2026-11-01T12:00:02Z")
	equal(t, "issue", fmt.Sprint(i.Field, " ", i.Model, " ", i.SampleID), "input_price claude-sonnet-4 3")
	equal(t, "records", i.Count, 2)
	equal(t, "price changes", strings.Count(r.issues(), schemas.CheckPrice), 1)
}

func TestAModelOfManyPricesStaysBounded(t *testing.T) {
	var recs []string
	for i := range 50 {
		recs = append(recs, detailed(i+1, noon+int64(i), fmt.Sprintf(`"output_price":%d`, i+1)))
	}
	i := derive(t, Options{}, wholeDay(listing(recs...))).issue(t, schemas.CheckPrice)
	equal(t, "prices", strings.Count(i.Detail, ";"), maxSteps-1)
	equal(t, "records", i.Count, 49)
}

func TestATotalThatCanNotBeBelievedIsReported(t *testing.T) {
	w := wholeDay(listing(detailed(1, noon)))
	w.Seal.Proof, w.Seal.Records = schemas.ProofRepeat, 1
	i := derive(t, Options{}, w).issue(t, schemas.CheckTotal)
	equal(t, "none", i.Severity+" "+i.Detail, "info the API gave no total; two whole passes agreed")
	seven := int64(7)
	w.Seal.Announced = &seven
	i = derive(t, Options{}, w).issue(t, schemas.CheckTotal)
	equal(t, "other", i.Severity+" "+i.Detail,
		"warning the API announced 7, two whole passes gave 1 (window acme 2026-11-01T00:00:00Z/2026-11-02T00:00:00Z)")
}

func TestIssuesAreBoundedAndMoneyComesBeforeDrift(t *testing.T) {
	var recs []string
	for i := range 700 {
		recs = append(recs, detailed(i+1, noon, fmt.Sprintf(`"f%d":1`, i)))
	}
	for i := range 700 {
		recs = append(recs, detailed(i+1000, noon, fmt.Sprintf(`"model":"m%d"`, i), `"amount":7`))
	}
	r := derive(t, Options{}, wholeDay(listing(recs...)))
	n := map[string]int{}
	for _, i := range r.footer.Issues {
		n[i.Check]++
	}
	equal(t, "issues", fmt.Sprint(n), fmt.Sprint(map[string]int{"unknown_field": maxNames,
		"net_mismatch": schemas.MaxIssues - maxNames, "more": 1}))
	equal(t, "beyond", r.issue(t, schemas.CheckMore).Count, 600+300)
}

func TestNamesInIssuesAreShort(t *testing.T) {
	long := "x" + strings.Repeat("é", 1000)
	r := derive(t, Options{}, wholeDay(listing(detailed(1, noon, `"model":"`+long+`"`, `"amount":0`, `"`+long+`":1`,
		`"id":"`+long+`"`))))
	for _, i := range r.footer.Issues {
		if len(i.Model) > maxName || len(i.Field) > maxName || len(i.SampleID) > maxName {
			t.Errorf("long issue %v", i)
		}
		equal(t, "sample", i.SampleID, "x"+strings.Repeat("é", maxName/2-1))
	}
	equal(t, "model", r.rows[0]["model"], any(long))
}
