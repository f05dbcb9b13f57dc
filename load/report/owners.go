package report

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// Statements builds the statement of each of the cost centres for a month that is being closed: what Build gives of a
// scope of each, byte for byte. Every question is asked once, for all of them: some hundred cost centres would else ask
// the same dozen of the same file some hundred times. opts are those of all, with the Period; they are Closing. It
// stops at the first error.
func Statements(ctx context.Context, lake *publish.Lake, opts Options, centers []string) iter.Seq2[*Document, error] {
	return func(yield func(*Document, error) bool) {
		r, _ := Find("statement")
		opts.Closing = true // how a month goes on, and its meters while it is open, aren't asked by owner
		s, err := opts.open(ctx, lake)
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.Close()
		b := &builder{Snapshot: s, Options: opts, shared: &sharedAnswers{map[string]*Table{}, map[string]map[string][]int{}}}
		if err = b.clock(ctx, r); err == nil {
			err = b.narrow(ctx, r)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for _, c := range centers {
			b.Scope.CostCenters = []string{c}
			if doc, err := b.document(ctx, r); !yield(doc, err) || err != nil {
				return
			}
		}
	}
}

// byOwner stands in a query before the columns of an answer that is about the scope, where the query groups by all that
// isn't summed. Of a document that stands alone it is nothing.
const byOwner = "/* by owner */ "

// ownerColumn is what byOwner becomes where documents share their answers: the cost centre, as a scope names it.
const ownerColumn = "coalesce(cost_center, '" + schemas.Unallocated + "') AS owner, "

// sharedAnswers are those to the queries of documents that are about a cost centre each. The snapshot shows the period
// of all of them.
type sharedAnswers struct {
	whole map[string]*Table           // by query; where it was asked by owner, without that column
	rows  map[string]map[string][]int // of such a query, by owner
}

// ask makes a Table of the answer to a query, for the document to keep.
func (b *builder) ask(ctx context.Context, name, title, sql string) (*Table, error) {
	if b.shared == nil {
		return ask(ctx, b.Snapshot, name, title, sql)
	}
	t, ok := b.shared.whole[sql]
	if !ok {
		var err error
		if t, err = ask(ctx, b.Snapshot, name, title, strings.ReplaceAll(sql, byOwner, ownerColumn)); err != nil {
			return nil, err
		}
		b.shared.keep(sql, t)
	}
	out := *t
	out.Columns, out.Rows = slices.Clone(t.Columns), nil
	take := func(row []query.Value) { out.Rows = append(out.Rows, slices.Clone(row)) }
	if owned, ok := b.shared.rows[sql]; ok {
		for _, i := range owned[b.Scope.CostCenters[0]] {
			take(t.Rows[i])
		}
		return &out, nil
	}
	for _, row := range t.Rows {
		take(row)
	}
	return &out, nil
}

// keep keeps the answer to a query.
func (a *sharedAnswers) keep(query string, t *Table) {
	a.whole[query] = t
	if !strings.Contains(query, byOwner) {
		return
	}
	owned := map[string][]int{}
	at := t.column("owner")
	t.Columns = slices.Delete(t.Columns, at, at+1)
	for i, row := range t.Rows {
		owned[row[at].Text] = append(owned[row[at].Text], i)
		t.Rows[i] = slices.Delete(row, at, at+1)
	}
	a.rows[query] = owned
}

// where is the scope as a condition; what documents share is asked of everybody.
func (b *builder) where() string {
	if b.shared != nil {
		return "true"
	}
	return b.Scope.Where()
}
