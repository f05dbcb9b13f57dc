package main

import (
	"fmt"

	"github.com/usagelake/usagelake/jobs"
)

// whatIf prints what a change in money would come to.
func (a *app) whatIf(w *jobs.WhatIf, err error) error {
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(w)
	}
	fmt.Fprintf(a.Stdout, "ok         %s\n", w.Markups)
	for _, m := range w.ByMonth {
		fmt.Fprintf(a.Stdout, "\n%s\n", m.Month)
		a.printChanges("published", "by the file", m.Centers, m.Totals)
	}
	a.printNotes(w.Findings)
	return nil
}
