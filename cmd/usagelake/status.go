package main

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) statusCommand() *cobra.Command {
	var days int
	c := &cobra.Command{
		Use:   "status",
		Short: "Coverage, freshness, last runs, gaps",
		Long: `status reads the lake's files, without a lock and without a key: what is covered, day by day, where the gaps
are, how fresh it is, who holds the lake, and what ran.`,
		Example: `  usagelake status
  usagelake status --days 0            every day
  usagelake status --output json | jq '.accounts[].gaps'`,
		RunE: func(c *cobra.Command, _ []string) error {
			if days < 0 {
				return config.Usage("", "--days %d is less than 0", days)
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			st, err := jobs.ReadStatus(c.Context(), cfg.Lake, a.overrides.Account, a.Now())
			if err != nil {
				return err
			}
			// A published file that can't be read is none of a status: doctor and verify say what is wrong with it.
			if err := jobs.ReadOverlaps(c.Context(), st, a.overrides.Account); err != nil && c.Context().Err() != nil {
				return err
			}
			if a.json() {
				return a.printJSON(st)
			}
			a.printStatus(st, days, cfg.Publish.Records)
			return nil
		},
	}
	c.Flags().IntVar(&days, "days", 35, "show this many days of coverage, 0 for all")
	return c
}

func (a *app) printStatus(st *jobs.Status, days int, records config.Records) {
	w := a.Stdout
	fmt.Fprintf(w, "lake      %s\n", st.Lake)
	if st.Database.Exists {
		fmt.Fprintf(w, "database  %s, %s, published %s (%s ago)\n", st.Database.Path, words.Bytes(st.Database.Bytes),
			words.Stamp(st.Database.PublishedAt), words.Span(st.CheckedAt.Sub(st.Database.PublishedAt)))
		if where := st.Database.WhereRecords(); where != "" {
			fmt.Fprintf(w, "records   %s\n", where)
		}
		if now := schemas.Records(records).String(); st.Database.Records != "" && now != st.Database.Records {
			fmt.Fprintf(w, "          the config says %s: the next publish builds the file anew\n", now)
		}
		if st.Database.Intruded != "" {
			fmt.Fprintf(w, "intruded  %s\n          %s\n", st.Database.Intruded, publish.HintIntruded)
		}
		if st.Database.Unmarked != "" {
			fmt.Fprintf(w, "unmarked  %s\n", st.Database.Unmarked)
		}
	} else {
		fmt.Fprintf(w, "database  not published yet: usagelake export, or usagelake rebuild\n")
	}
	if st.Holder != nil {
		fmt.Fprintf(w, "held by   %s\n", st.Holder.Holder())
	}
	for _, d := range st.Deliveries {
		if d.Error != "" {
			fmt.Fprintf(w, "DELIVERY  %s → %s fails since %s: %s\n", d.Name, words.Printable(d.URL), words.Stamp(d.Since),
				words.Clip(words.Line(d.Error), 200))
			continue
		}
		fmt.Fprintf(w, "delivered %s → %s, manifest %d, %s ago\n", d.Name, words.Printable(d.URL), d.Number,
			words.Span(st.CheckedAt.Sub(d.Delivered)))
	}
	for _, m := range st.Packages {
		if problem := m.Problem(); problem != "" {
			fmt.Fprintf(w, "PACKAGES  %s: %s\n", m.Name(), words.Clip(words.Line(problem), 300))
		}
	}
	for _, acc := range st.Accounts {
		fmt.Fprintf(w, "\naccount %s\n", acc.Account)
		if acc.From.IsZero() {
			fmt.Fprintln(w, "  nothing is covered yet")
			a.printOrphans(acc.Orphans)
			continue
		}
		fmt.Fprintf(w, "  covered      %s to %s UTC, %s behind\n", words.Stamp(acc.From), words.Stamp(acc.To),
			words.Span(st.CheckedAt.Sub(acc.To)))
		fmt.Fprintf(w, "  records      %s, quarantined %s, quality issues within days %s\n", words.Count(acc.Records),
			words.Count(acc.Quarantined), words.Count(acc.Issues))
		if acc.Stale > 0 {
			fmt.Fprintf(w, "  stale        %d days are sealed but not derived: usagelake rebuild, or the next export\n",
				acc.Stale)
		}
		if acc.Pruned > 0 {
			fmt.Fprintf(w, "  pruned       %d days: retention deleted their raw files, the day files are their source\n",
				acc.Pruned)
		}
		a.printOrphans(acc.Orphans)
		a.printUnproven(acc.Unproven)
		if len(acc.Gaps) == 0 {
			fmt.Fprintln(w, "  gaps         none")
		}
		for _, g := range acc.Gaps {
			fmt.Fprintf(w, "  GAP          %s to %s UTC (%s)\n", words.Stamp(g.Start), words.Stamp(g.End),
				words.Span(g.End.Sub(g.Start)))
		}
		fmt.Fprintln(w)
		a.printDays(acc.Days, days)
	}
	if n := st.JournalDamaged; n > 0 {
		fmt.Fprintf(w, "\njournal        %s can't be read, and what they said of past runs is lost: "+
			"usagelake verify --repair sets them aside\n", words.Plural(n, "line", "lines"))
	}
	for _, o := range st.Overlaps {
		fmt.Fprintf(w, "\nOVERLAP   accounts %s and %s hold the same records, %s of them on %d days from %s to %s: what "+
			"they cost counts twice (usagelake doctor says what to do)\n",
			o.Accounts[0], o.Accounts[1], words.Count(o.Records), o.Days, o.From, o.To)
	}
	if len(st.Runs) == 0 {
		return
	}
	fmt.Fprintln(w, "\nlast runs")
	t := a.newTable(table.Row{"started (UTC)", "command (job)", "status", "took", "records", "windows", "requests", "429s",
		"error"})
	for _, r := range st.Runs {
		took := ""
		if !r.EndedAt.IsZero() {
			took = words.Took(r.EndedAt.Sub(r.StartedAt))
		}
		t.AppendRow(table.Row{words.Stamp(r.StartedAt), jobColumn(r), r.Status, took, words.Count(r.Records),
			words.Count(r.Windows), words.Count(r.Requests), words.Count(r.Throttled), words.Clip(words.Line(r.Error), 60)})
	}
	rightAlign(t, 4, 8)
	fmt.Fprintln(w, t.Render())
}

// printOrphans lists the days that can't be derived again.
func (a *app) printOrphans(orphans []jobs.Orphan) {
	a.printFew("KEPT", len(orphans), func(i int) (line, hint string) {
		o := orphans[i]
		return fmt.Sprintf("%s (%s): %s", o.Date, o.What, words.Printable(o.Detail)), o.Hint
	})
}

// printUnproven lists the windows that are not shown to be whole.
func (a *app) printUnproven(windows []jobs.Unproven) {
	a.printFew("UNPROVEN", len(windows), func(i int) (line, hint string) {
		u := windows[i]
		return fmt.Sprintf("%s to %s UTC: %s", words.Stamp(u.Start), words.Stamp(u.End), u.Detail), u.Hint
	})
}

// printFew prints the first of n things that are wrong, and what to do about the first.
func (a *app) printFew(what string, n int, line func(i int) (line, hint string)) {
	const most = 5
	for i := range min(n, most) {
		text, _ := line(i)
		fmt.Fprintf(a.Stdout, "  %-12s %s\n", what, text)
	}
	if n > most {
		fmt.Fprintf(a.Stdout, "  %-12s … and %d more: usagelake verify lists them\n", what, n-most)
	}
	if n > 0 {
		_, hint := line(0)
		fmt.Fprintf(a.Stdout, "  %-12s %s\n", "", hint)
	}
}

// printDays draws a bar a day: its length is the day's records, thirty blocks for the largest of those shown, and a day
// that isn't covered whole stands out. A day with any record has a sliver at least.
func (a *app) printDays(days []jobs.Day, most int) {
	if most > 0 && len(days) > most {
		fmt.Fprintf(a.Stdout, "  … %d earlier days (--days 0 shows all)\n", len(days)-most)
		days = days[len(days)-most:]
	}
	var top int64 = 1
	for _, d := range days {
		top = max(top, d.Records)
	}
	for _, d := range days {
		mark := " "
		note := ""
		switch {
		case d.Error != "":
			mark, note = "!", "  damaged: "+words.Printable(d.Error)
		case d.Covered == 0:
			mark, note = "!", "  GAP: nothing covered"
		case d.Covered < 1:
			mark, note = "~", fmt.Sprintf("  %.0f %% covered", 100*d.Covered)
		}
		if d.Orphan {
			note += "  kept: raw files are gone"
		}
		if d.Stale {
			note += "  stale"
		}
		if d.Quarantined > 0 {
			note += fmt.Sprintf("  %s quarantined", words.Count(d.Quarantined))
		}
		bar := strings.Repeat("█", int(d.Records*30/top))
		if d.Records > 0 && bar == "" {
			bar = "▏"
		}
		fmt.Fprintf(a.Stdout, "  %s %s %9s %s%s\n", mark, d.Date, words.Count(d.Records), bar, note)
	}
}
