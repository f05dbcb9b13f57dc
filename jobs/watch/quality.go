package watch

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// maxTold is how many findings a rule makes of the published file: after a great backfill there may be any number, and
// the latest ones do. What newer ones push out of the list is told to be over, though nobody mended it.
const maxTold = 500

// quality finds checks that failed in days that were fetched within the window: by when a day was fetched and not by
// its date, so that a backfill of last year tells what is wrong with it.
func (g *gatherer) quality(ctx context.Context, snap *query.Snapshot, r config.Rule) error {
	within := cmp.Or(time.Duration(r.Within), config.DefaultRecent)
	return each(ctx, snap,
		fmt.Sprintf(`SELECT account, usage_date, check_name, sum(records)::BIGINT AS records, fetched_at,
			min(detail) AS detail, min(sample_id) AS sample_id
		FROM quality_issues JOIN (SELECT account, usage_date, max(fetched_at) AS fetched_at FROM coverage WHERE owns
		GROUP BY ALL) USING (account, usage_date)
		WHERE severity = '%s' AND check_name <> '%s' AND fetched_at >= TIMESTAMPTZ '%s'
		GROUP BY ALL ORDER BY usage_date DESC, account, check_name LIMIT %d`, schemas.Failure, schemas.CheckQuarantine,
			words.Instant(g.since(within)), maxTold), func(v row) error {
			account, day, check := v.text("account"), v.text("usage_date"), v.text("check_name")
			if !g.covers(r, account) {
				return nil
			}
			fetched, err := time.Parse(time.RFC3339, v.text("fetched_at"))
			if err != nil {
				return err
			}
			g.add(r, alert.Finding{Subject: account + " " + day + " " + check, Once: true, Until: passes(fetched, within),
				Summary: fmt.Sprintf("account %s, %s: the check %s failed for %s records, such as %s", g.label("account", account),
					day, check, v.text("records"), brief(v.text("sample_id")+" "+v.text("detail"))),
				Details: map[string]string{"account": account, "usage_date": day, "check": check, "records": v.text("records"),
					"sample_id": v.text("sample_id"), "detail": v.text("detail")}})
			return nil
		})
}

// quarantine is the same for records that could not be normalised. A window's start says which day they are of, for a
// record's own time may be what could not be read.
func (g *gatherer) quarantine(ctx context.Context, snap *query.Snapshot, r config.Rule) error {
	within := cmp.Or(time.Duration(r.Within), config.DefaultRecent)
	return each(ctx, snap,
		fmt.Sprintf(`SELECT account, make_timestamp(epoch_us(window_start))::DATE AS usage_date, count(*) AS records,
			max(fetched_at) AS fetched_at, string_agg(DISTINCT reason, ', ' ORDER BY reason) AS reasons
		FROM quarantine GROUP BY ALL HAVING max(fetched_at) >= TIMESTAMPTZ '%s'
		ORDER BY usage_date DESC, account LIMIT %d`, words.Instant(g.since(within)), maxTold), func(v row) error {
			account, day := v.text("account"), v.text("usage_date")
			if !g.covers(r, account) {
				return nil
			}
			fetched, err := time.Parse(time.RFC3339, v.text("fetched_at"))
			if err != nil {
				return err
			}
			g.add(r, alert.Finding{Subject: account + " " + day, Once: true, Until: passes(fetched, within),
				Summary: fmt.Sprintf("account %s, %s: %s records are in quarantine and count in no sum: %s",
					g.label("account", account), day, v.text("records"), brief(v.text("reasons"))),
				Details: map[string]string{"account": account, "usage_date": day, "records": v.text("records"),
					"reasons": v.text("reasons")}})
			return nil
		})
}

// about is the condition that an event of anomaly_events is one of those that the rule is about, or shows in one of
// them. An event stands for others, which it explains (also): the rise of one token, say, for that of its account, of
// which a rule about accounts is to hear.
func about(r config.Rule) string {
	if r.Scopes == nil && r.Accounts == nil {
		return "true"
	}
	in := func(column string, values []string) string {
		var quoted []string
		for _, v := range values {
			quoted = append(quoted, schemas.SQLString(v))
		}
		return column + " IN (" + strings.Join(quoted, ", ") + ")"
	}
	is := func(prefix string) string {
		all := []string{"true"}
		if r.Scopes != nil {
			all = append(all, in(prefix+`"scope"`, r.Scopes))
		}
		if r.Accounts != nil {
			all = append(all, in(prefix+`"scope"`, []string{"account"}), in(prefix+"scope_value", r.Accounts))
		}
		return "(" + strings.Join(all, " AND ") + ")"
	}
	return "(" + is("") + " OR len(list_filter(also, lambda x: " + is("x.") + ")) > 0)"
}

// anomaly tells of each event of the last days once: the day, the kind and whose it is are its identity, so that a day
// which is fetched again, with other figures, isn't told again.
func (g *gatherer) anomaly(ctx context.Context, snap *query.Snapshot, r config.Rule) error {
	within := cmp.Or(time.Duration(r.Within), config.DefaultRecent)
	return each(ctx, snap,
		fmt.Sprintf(`SELECT usage_date, kind, "scope", scope_value, scope_name, currency, observed, expected, deviation,
			detail,
			array_to_string(list_transform(also, lambda x: x."scope" || ' ' ||
			coalesce(x.scope_name || ' (' || x.scope_value || ')', x.scope_value, 'NULL')), ', ') AS also
		FROM anomaly_events WHERE usage_date >= DATE '%s' AND %s ORDER BY usage_date DESC, abs(deviation) DESC NULLS LAST,
		"scope", scope_value, kind, currency, detail LIMIT %d`, schemas.DateOf(g.since(within)), about(r), maxTold),
		func(v row) error {
			scope, value := v.text("scope"), v.text("scope_value")
			day, err := schemas.ParseDate(v.text("usage_date"))
			if err != nil {
				return err
			}
			f := alert.Finding{Once: true, Until: passes(day.Start(), within), Details: map[string]string{}}
			for c, cell := range v {
				if !cell.Null {
					f.Details[c] = cell.Text
				}
			}
			f.Subject = strings.Join([]string{day.String(), v.text("kind"), scope, value, v.text("currency")}, " ")
			f.Summary = fmt.Sprintf("%s of %s %s on %s: %s", v.text("kind"), scope, brief(g.label(scope, value)), day,
				brief(v.text("detail")))
			if observed, err := v.money("observed"); err == nil && observed != nil {
				expected, err := v.money("expected")
				if err != nil {
					return err
				}
				currency := v.text("currency")
				f.Summary = fmt.Sprintf("%s of %s %s on %s: %s, %s expected (%s)", v.text("kind"), scope,
					brief(g.label(scope, value)), day,
					observed.In(currency).Text(), expected.In(currency).Amount(), brief(v.text("detail")))
			}
			if also := v.text("also"); also != "" {
				f.Summary += "; it explains " + brief(also)
			}
			g.add(r, f)
			return nil
		})
}
