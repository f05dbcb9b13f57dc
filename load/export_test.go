package load

import (
	"testing"

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
