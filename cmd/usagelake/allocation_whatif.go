package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/schemas/words"
)

// maxUnpriced is how many rows the table of lines without a price has at the most: a row is a kind of them.
const maxUnpriced = 20

// whatIf prints what a change in money would come to.
func (a *app) whatIf(w *jobs.WhatIf, err error) error {
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(w)
	}
	fmt.Fprintf(a.Stdout, "ok         %s\n", w.File())
	for _, m := range w.ByMonth {
		fmt.Fprintf(a.Stdout, "\n%s\n", m.Month)
		a.printChanges("published", "by the file", m.Centers, m.Totals)
	}
	if n := len(w.Unpriced); n > 0 {
		fmt.Fprint(a.Stdout, "what the file has no price of:\n\n")
		t := a.newTable(table.Row{"model", "line", "currency", "lines", "net cost", "why"})
		rightAlign(t, 4, 5)
		for _, u := range w.Unpriced[:min(n, maxUnpriced)] {
			t.AppendRow(table.Row{words.Cell(u.Model), words.Cell(u.Line), u.Currency, words.Count(u.Lines), u.Net, u.Why})
		}
		fmt.Fprintf(a.Stdout, "%s\n", t.Render())
		if n > maxUnpriced {
			fmt.Fprintf(a.Stdout, "and %d more: --output json has all\n", n-maxUnpriced)
		}
		fmt.Fprintln(a.Stdout)
	}
	a.printNotes(w.Findings)
	return nil
}
