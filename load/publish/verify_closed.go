package publish

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load"
)

// FoundClosed says that a closed month isn't as it was closed.
const FoundClosed = "closed_month"

// closedMonths holds the closed months against their manifests, and what the published file charges in them against
// their ledgers.
func (v *verifier) closedMonths(ctx context.Context) error {
	closed, err := v.lake.Closed()
	if err != nil {
		v.add(Finding{Check: FoundClosed, Path: v.lake.Path(load.StatementsDir), Detail: err.Error(),
			Hint: "restore it from a backup"})
		return nil
	}
	if err := v.chain(); err != nil {
		return err
	}
	published, err := v.publishedMonths(ctx)
	if err != nil {
		return err
	}
	for _, c := range closed {
		switch was, ok := published[c.Month.String()]; {
		case !ok:
			v.add(Finding{Check: FoundBehind, Path: v.lake.Database(),
				Detail: c.Month.String() + " is closed, and published as open", Hint: "usagelake rebuild"})
		case was != c.Digest:
			v.add(Finding{Check: FoundClosed, Path: filepath.Join(c.Dir, ManifestName),
				Detail: "it is not the manifest the month was published with",
				Hint: "restore statements/" + c.Month.String() +
					" from a backup; if it was closed anew since, usagelake rebuild"})
		}
		// What is left in the end is published as closed, and has no statements.
		delete(published, c.Month.String())
		found := func(path, format string, args ...any) {
			v.add(Finding{Check: FoundClosed, Path: filepath.Join(c.Dir, filepath.FromSlash(path)),
				Detail: fmt.Sprintf(format, args...),
				Hint: "restore statements/" + c.Month.String() + " from a backup, or usagelake close --reopen --month " +
					c.Month.String() + " --reason …, and close it anew"})
		}
		named := map[string]bool{ManifestName: true}
		if c.Signer != "" {
			named[SignatureFile] = true
			if err := v.lake.signature(c); err != nil {
				found(SignatureFile, "%s", err)
			}
		}
		for _, f := range c.Files {
			named[f.Path] = true
			if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
				found(ManifestName, "it names the file %q, which lies elsewhere", f.Path)
				continue
			}
			have, err := v.lake.manifestFile(c.Dir, f.Path)
			switch {
			case err != nil:
				found(f.Path, "it can't be read: %s", err)
			case have.SHA256 != f.SHA256:
				found(f.Path, "its bytes are not those the month was closed with")
			}
		}
		files, _, err := v.lake.treeFiles(c.Dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if !named[f] {
				found(f, "the manifest doesn't name it")
			}
		}
		if same, err := v.d.ledgerHolds(ctx, filepath.Join(c.Dir, filepath.FromSlash(LedgerFile)),
			c.Totals); ctx.Err() != nil {
			return ctx.Err()
		} else if err == nil && !same { // that it can't be read is found below
			found(LedgerFile, "its charges don't sum to the totals of the manifest")
		}
		switch same, err := v.d.markupsHold(ctx, c); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			found(ManifestName, "its mark-ups can't be held against usage.duckdb: %s", err)
		case !same:
			found(ManifestName, "usage.duckdb has other mark-ups of the month: usagelake rebuild")
		}
		for _, l := range ledgers {
			if err := v.ledger(ctx, c, l, found); err != nil {
				return err
			}
		}
		if err := v.prepaid(ctx, c, found); err != nil {
			return err
		}
	}
	for _, month := range slices.Sorted(maps.Keys(published)) {
		v.add(Finding{Check: FoundClosed, Path: v.lake.Path(load.StatementsDir, month),
			Detail: month + " is published as closed, and what it was closed with is gone",
			Hint:   "restore statements/" + month + " from a backup before anything publishes: without it the month is open"})
	}
	return nil
}

// chain holds the manifests of months that are closed, and of those that were opened again, against each other.
func (v *verifier) chain() error {
	all, err := v.lake.Closings()
	if err != nil {
		return err
	}
	brokenLinks(all, func(of Closing, format string, args ...any) {
		v.add(Finding{Check: FoundClosed, Path: filepath.Join(of.Dir, ManifestName), Detail: fmt.Sprintf(format, args...),
			Hint: "restore " + v.lake.Path(load.StatementsDir) + " from a backup, reopened/ included"})
	})
	return nil
}

// publishedMonths are the closed months of the published file, each with the digest of its manifest.
func (v *verifier) publishedMonths(ctx context.Context) (map[string]string, error) {
	rows, err := v.d.conn.QueryContext(ctx, `SELECT strftime("month", '%Y-%m'), manifest_sha256 FROM closed_months`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	months := map[string]string{}
	for rows.Next() {
		var month, digest string
		if err := rows.Scan(&month, &digest); err != nil {
			return nil, err
		}
		months[month] = digest
	}
	return months, rows.Err()
}

// ledger compares the rows of a ledger with those the published file has of the month, by a hash over them all.
func (v *verifier) ledger(ctx context.Context, c ClosedMonth, l ledger,
	found func(path, format string, args ...any)) error {
	var same bool
	rows, err := v.d.ledgerRows(ctx, l, filepath.Join(c.Dir, filepath.FromSlash(l.file)))
	if err == nil {
		err = v.d.conn.QueryRowContext(ctx, fmt.Sprintf(`
		WITH kept AS (SELECT count(*) AS n, sum(hash(r))::VARCHAR AS h FROM (SELECT %[1]s FROM %[2]s) r),
		published AS (SELECT count(*) AS n, sum(hash(r))::VARCHAR AS h
		FROM (SELECT %[1]s FROM %[3]s WHERE billing_month = DATE '%[4]s') r)
		SELECT k.n = p.n AND k.h IS NOT DISTINCT FROM p.h FROM kept k, published p`,
			strings.TrimSuffix("billing_month, charge_class, "+l.dimensions+", "+l.measures+", "+l.booked, ", "), rows, l.table,
			c.Month.First())).Scan(&same)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		found(l.file, "it can't be held against usage.duckdb: %s", err)
	case !same:
		found(l.file, "usage.duckdb charges something else in the month: usagelake rebuild")
	}
	return nil
}
