package load

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// What the tests of packages above this one need of its kit: lakes whose day files another writer made.
type (
	BookWriter = dayWriter
	TestRules  = testRules
)

// NewBookWriter makes a lake and a writer of its day files.
func NewBookWriter(t testing.TB) *BookWriter { return newDayWriter(t, Options{}) }

// Lake is the lake that is written to.
func (w *dayWriter) Lake() *Lake { return w.lake }

// Day writes a day file of charges: id, token, model and amount of each, in USD.
func (w *dayWriter) Day(p schemas.Partition, rows ...[4]string) {
	w.t.Helper()
	var out []string
	for _, r := range rows {
		out = append(out, charge(p, r[0], r[1], r[2], r[3], "USD"))
	}
	if len(out) == 0 {
		out = append(out, "FROM ("+charge(p, "none", "tk_0", "m", "0", "USD")+") WHERE false")
	}
	w.charges(p, out...)
}

// Charged is a record as a test writes it.
type Charged struct {
	ID, Token, Model, Amount, Currency string
	Hour                               int // of the day, at which it was used
}

// Images writes a day file of charges, as Day does, each of which is for one image.
func (w *dayWriter) Images(p schemas.Partition, rows ...[4]string) {
	w.t.Helper()
	var out []string
	for _, r := range rows {
		out = append(out, charge(p, r[0], r[1], r[2], r[3], "USD", fmt.Sprintf(`ext_items=[{category: 'image', item: 'out', unit: 'each', price: %s::DECIMAL(18,12), "usage": 1::DECIMAL(18,12), amount: %[1]s::DECIMAL(18,12)}]`, r[3])))
	}
	w.charges(p, out...)
}

// PartOfDay writes a day file of charges of which the first hours were fetched.
func (w *dayWriter) PartOfDay(p schemas.Partition, hours int, rows ...Charged) {
	w.t.Helper()
	out := []string{"FROM (" + charge(p, "none", "tk_0", "m", "0", "USD") + ") WHERE false"}
	for _, r := range rows {
		out = append(out, charge(p, r.ID, r.Token, r.Model, r.Amount, r.Currency, fmt.Sprintf("request_time=request_time + INTERVAL %d HOUR", r.Hour)))
	}
	query := strings.Join(out, " UNION ALL ")
	w.dayFrom(p, query, fmt.Sprintf("d-%s-%d", p, len(query)), func(f *schemas.DayFooter) {
		if hours < 24 {
			f.Windows = f.Windows[1:]
			f.Windows[0].End = p.Date.Start().Add(time.Duration(hours) * time.Hour)
		}
	})
}

// Balance writes a look at an account's balance, at the first second of a day.
func (w *dayWriter) Balance(p schemas.Partition, amount string) { w.t.Helper(); w.balance(p, amount) }

// Publish publishes the lake.
func (w *dayWriter) Publish(f Finance) { w.t.Helper(); w.publish(PublishOptions{Finance: f}) }

// Close closes a month.
func (w *dayWriter) Close(month string, f Finance) {
	w.t.Helper()
	f.Archived = archived(f.Rules)
	if _, err := w.closeMonth(month, f); err != nil {
		w.t.Fatal(err)
	}
}

// Ruled is the finance of the test rules, whose owner of team 4 changes on a day, with the pool that the centres bear.
func Ruled(since string, pool ...string) Finance {
	f := Finance{Rules: testRules{name: "a", since: mustDate(since), pool: pool}}
	f.Archived = archived(f.Rules)
	return f
}
