package report_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	prepaid "github.com/usagelake/usagelake/transform/books"
)

// A month opens with what the months before left, whatever the report is narrowed to; and what is narrowed to an
// account is of that one alone, the look at its balance included.
func TestPrepaidCreditIsRolledForwardByAccount(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	at := func(account, date string) schemas.Partition {
		return schemas.Partition{Account: account, Date: day(date)}
	}
	expires := day("2026-11-20")
	f := publishtest.Ruled("2026-09-30")
	f.Draw = prepaid.Draw
	for _, account := range []string{"acme", "bee"} {
		w.Day(at(account, "2026-10-05"), [4]string{"a", "tk_2", "m", "30"})
		w.Day(at(account, "2026-11-05"), [4]string{"b", "tk_2", "m", "50"})
		f.Billing = append(f.Billing, schemas.Billing{Account: account, Billing: schemas.Prepaid, Draw: schemas.DrawFIFO})
		for _, kind := range []string{schemas.TopUpPaid, schemas.TopUpCoupon} {
			u := schemas.TopUp{Account: account, Date: day("2026-10-01"), Currency: "USD", Kind: kind, Source: "t.csv:2"}
			if u.Amount, _ = schemas.ParseMoney("100"); kind == schemas.TopUpCoupon {
				u.Expires = &expires
			}
			f.TopUps = append(f.TopUps, u)
		}
	}
	w.Balance(at("acme", "2026-11-05"), "177")
	w.Publish(publish.PublishOptions{Finance: f})
	p := monthPeriod(day("2026-11-01").Month())
	for _, accounts := range [][]string{nil, {"acme"}} {
		o := report.Options{Name: "prepaid", Period: &p, Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Version: "t"}
		o.Scope = query.Scope{Accounts: accounts}
		doc, err := report.Build(t.Context(), w.Lake, o)
		if err != nil {
			t.Fatal(err)
		}
		cells := func(name string, columns ...string) string {
			var out []string
			for _, x := range doc.Tables {
				if x.Name != name {
					continue
				}
				for _, row := range x.Rows {
					var cells []string
					for _, c := range columns {
						i := slices.IndexFunc(x.Columns, func(o report.Column) bool { return o.Name == c })
						cells = append(cells, strings.TrimSuffix(row[i].Text, ".000000000000"))
					}
					out = append(out, strings.Join(cells, " "))
				}
			}
			return strings.Join(out, "|")
		}
		want := map[string]string{
			// The balance of 177 at midnight, less the 50 used since, is 127: 7 more than the 120 that are left.
			"months":   "acme 170 50 120 7",
			"credits":  "acme paid 100 80 20|acme coupon 100 0 100",
			"expiring": "acme coupon 100",
			"draws":    "acme paid 50",
		}
		if accounts == nil {
			want["months"] += "|bee 170 50 120 "
		}
		for name, columns := range map[string][]string{
			"months":   {"account", "opening", "drawn", "closing", "difference"},
			"credits":  {"account", "kind", "amount", "drawn", "remaining"},
			"expiring": {"account", "kind", "remaining"},
			"draws":    {"account", "kind", "drawn"},
		} {
			if accounts == nil && name != "months" {
				want[name] += "|" + strings.ReplaceAll(want[name], "acme", "bee")
			}
			if got := cells(name, columns...); got != want[name] {
				t.Errorf("%v: %s: %s\nwant %s", accounts, name, got, want[name])
			}
		}
	}
}
