package watch

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// published asks the published file, unless it was asked already: it is the same file, and so are the rules and the
// day. It returns the rules that it could not ask for. Only answers that are whole are kept: after an error the next
// check asks all of it again.
func (g *gatherer) published(ctx context.Context, env jobs.Env, rules []config.Rule,
	memory *remembered) map[string]error {
	key, err := g.publishedKey(env, rules)
	if err != nil {
		return all(rules, err)
	}
	if key == memory.Published.Key {
		g.found = append(g.found, memory.Published.Findings...)
		return nil
	}
	had := len(g.found)
	failed := g.ask(ctx, rules)
	if len(failed) == 0 {
		memory.Published.Key = key
		memory.Published.Findings = slices.Clone(g.found[had:])
	}
	return failed
}

// publishedKey is all that an answer depends on: the file, by its time and size, for a publish renames a new one into
// place; the day, by which windows move; what is asked, and by which version; and what things are called. The file is
// looked at before it is opened: one that is published in between is taken for the older one, and asked once more by
// the next check.
func (g *gatherer) publishedKey(env jobs.Env, rules []config.Rule) (string, error) {
	info, err := g.lake.DatabaseInfo()
	if errors.Is(err, fs.ErrNotExist) {
		return "", query.ErrNotPublished
	}
	if err != nil {
		return "", err
	}
	asked, err := json.Marshal([]any{rules, g.cfg.AccountNames(), g.names, g.cfg.Budgets, env.Version})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d %s %x", info.ModTime().UnixNano(), info.Size(), g.today, sha256.Sum256(asked)), nil
}

func (g *gatherer) ask(ctx context.Context, rules []config.Rule) map[string]error {
	snap, err := query.OpenSnapshot(ctx, g.lake)
	if err != nil {
		return all(rules, err)
	}
	defer snap.Close()
	failed := map[string]error{}
	for _, r := range rules {
		had := len(g.found)
		var err error
		switch r.Kind {
		case config.AlertBalance, config.AlertRunway:
			err = g.balance(ctx, snap, r)
		case config.AlertBudget, config.AlertForecast:
			err = g.budget(ctx, snap, r)
		case config.AlertQuality:
			err = g.quality(ctx, snap, r)
		case config.AlertQuarantine:
			err = g.quarantine(ctx, snap, r)
		case config.AlertAnomaly:
			err = g.anomaly(ctx, snap, r)
		case config.AlertRate:
			err = g.rates(ctx, snap, r)
		}
		// What it found before the error goes, too: the rule is unknown, and its alerts stay as they are.
		if err != nil {
			g.found = g.found[:had]
			failed[r.Name] = err
		}
	}
	// Only now: of a file that answers nobody needs to know who made it.
	if len(failed) > 0 && ctx.Err() == nil {
		if other := otherTables(ctx, snap); other != nil {
			for name := range failed {
				failed[name] = other
			}
		}
	}
	return failed
}

// errOtherTables is why facts can't be had of a file that another version published: it lacks what is asked of it.
type errOtherTables struct{ version int }

func (e *errOtherTables) Error() string {
	which := "an older version"
	if e.version > schemas.SQLVersion {
		which = "a newer version"
	}
	return fmt.Sprintf("usage.duckdb was published by %s (tables %d, this one makes %d); the next publish mends it", which,
		e.version, schemas.SQLVersion)
}

// otherTables says whether a file has tables of another version; nil if not, or if it doesn't say.
func otherTables(ctx context.Context, snap *query.Snapshot) (other error) {
	_ = each(ctx, snap, "SELECT schema_version FROM meta", func(v row) error {
		if n, err := strconv.Atoi(v.text("schema_version")); err == nil && n != schemas.SQLVersion {
			other = &errOtherTables{n}
		}
		return nil
	})
	return other
}

// row is a row of an answer, by column.
type row map[string]query.Value

func (r row) text(column string) string { return r[column].Text }

// money is a decimal of a row, exactly; nil for NULL.
func (r row) money(column string) (*schemas.Money, error) {
	if r[column].Null {
		return nil, nil
	}
	v, err := schemas.ParseMoney(r[column].Text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", column, err)
	}
	return &v, nil
}

func each(ctx context.Context, snap *query.Snapshot, query string, do func(row) error) error {
	rows, err := snap.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for values, err := range rows.All(ctx) {
		if err != nil {
			return err
		}
		r := row{}
		for i, c := range rows.Columns {
			r[c.Name] = values[i]
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}
