package publish

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// verifiedDay is what the files of a day turned out to hold.
type verifiedDay struct {
	footer            schemas.DayFooter
	usage, quarantine string // digests of the files
	readable          bool
	content           content
	pruned            *load.Pruned // nil if the day isn't frozen
	hint              string       // what mends its files
}

// content is what is compared of a day's rows.
type content struct {
	rows                    int64
	total, discount, amount string
	hash                    string
}

// raw reads the sealed files of a day whole, and returns what the day comes from.
func (v *verifier) raw(ctx context.Context, p schemas.Partition) (load.Source, error) {
	source, err := v.lake.Source(p)
	if err != nil {
		return source, err
	}
	balances, err := v.lake.Balances(p)
	if err != nil {
		return source, err
	}
	v.report.Windows += len(source.Windows)
	live := source.Live()
	v.report.PrunedWindows += len(source.Windows) - len(live)
	for _, r := range slices.Concat(live, balances) {
		v.report.RawFiles++
		path := filepath.Join(v.lake.Partition(load.RawDir, p), r.Name)
		found := Finding{Check: FoundRaw, Path: path, Account: p.Account, Date: p.Date.String(), Hint: hintRepair}
		if r.Kind == schemas.KindBalance {
			found.Hint += " (a balance can't be asked for again for the past)"
		}
		seal, pages, size, err := v.readRaw(ctx, p, r)
		if ctx.Err() != nil {
			return source, ctx.Err()
		}
		v.report.RawPages += int64(pages)
		v.report.RawBytes += size
		switch {
		case err != nil && !errors.As(err, new(*load.DamagedError)):
			return source, err // it may be whole: it can't be told, and nothing is to be made of that
		case err != nil:
			found.Detail = load.Detail(err)
		case pages != seal.Pages:
			found.Detail = fmt.Sprintf("it holds %d pages, its first line says %d", pages, seal.Pages)
		case r.Kind == schemas.KindUsage && !vouched(seal):
			found.Check = FoundAnnounced
			found.Detail = fmt.Sprintf("%d records came, and the API announced %s", seal.Records, announced(seal.Announced))
		default:
			continue
		}
		v.add(found)
	}
	return source, nil
}

func announced(n *int64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

func (v *verifier) readRaw(ctx context.Context, p schemas.Partition, r load.Raw) (seal schemas.Seal, pages int,
	size int64, err error) {
	sealed, err := v.lake.OpenRaw(ctx, p, r)
	if err != nil {
		return seal, 0, 0, err
	}
	for page, err := range sealed.Pages(ctx) {
		if err != nil {
			return sealed.Seal, pages, size, err
		}
		pages++
		size += int64(len(page.Body))
	}
	return sealed.Seal, pages, size, nil
}

// day holds the derived files of a day against what it comes from and against themselves.
func (v *verifier) day(ctx context.Context, source load.Source) error {
	p := source.Partition
	path := v.lake.UsagePath(p)
	hint := hintRebuild
	found := func(check, path, format string, args ...any) {
		v.add(Finding{Check: check, Path: path, Account: p.Account, Date: p.Date.String(),
			Detail: fmt.Sprintf(format, args...), Hint: hint})
	}
	t, err := v.pruned(source)
	if err != nil {
		return err
	}
	if t != nil {
		hint = load.HintLost(p)
	}
	footer, ok, err := v.lake.Day(p)
	var damaged *load.DamagedError
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	orphan, errOrphan := v.lake.OrphanedDay(source, footer, ok, err)
	if errOrphan != nil && !errors.As(errOrphan, new(*load.DamagedError)) { // a raw file, which is found by itself
		return errOrphan
	}
	if orphan != nil {
		v.orphan(*orphan)
		hint = orphan.Hint()
	}
	switch {
	case damaged != nil:
		if orphan == nil {
			found(FoundDay, path, "%s", load.Detail(err))
		}
		v.report.DayFiles++
		return nil
	case err != nil:
		return err
	case !ok && t != nil:
		found(FoundPruned, path, "%s", load.Detail(v.lake.LostFile(p, path, true)))
		return nil
	case !ok && len(source.Windows) > 0:
		found(FoundMissing, path, "%d windows are sealed, and no rows were derived from them", len(source.Windows))
		return nil
	case !ok:
		return nil
	}
	v.report.DayFiles++
	version := cmp.Or(v.opts.TransformVersion, footer.Transform)
	switch {
	case t != nil: // held against its tombstone, below
	case orphan != nil: // held against itself and the published file
	case footer.Digest != source.Digest(version):
		found(FoundStale, path, "it was derived from other windows than the %d that are sealed, or by another version",
			len(source.Windows))
	}
	d := &verifiedDay{footer: footer, pruned: t, hint: hint}
	v.days[p] = d
	if d.usage, err = v.lake.Digest(path); err != nil {
		return err
	}
	if t != nil && d.usage != t.Usage.SHA256 {
		found(FoundPruned, path, "%s", load.Detail(v.lake.LostDay(p)))
	}
	// The bytes of the row groups first: what DuckDB makes of a changed byte need not be an error.
	var misplaced, unordered int64
	if err = v.lake.CheckBody(path); err == nil {
		d.content, misplaced, unordered, err = v.readDay(ctx, p, path, footer.Schema)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		found(FoundDay, path, "%s", load.Detail(err))
	default:
		d.readable = true
		v.report.Rows += d.content.rows
		if said, err := footerContent(footer); err != nil {
			found(FoundDay, path, "its footer: %s", err)
		} else if got := d.content; got.rows != said.rows || got.total != said.total || got.discount != said.discount ||
			got.amount != said.amount {
			found(FoundTotals, path,
				"it holds %d rows, total_amount %s, discount_amount %s, amount %s; its footer says %d, %s, %s, %s",
				got.rows, got.total, got.discount, got.amount, said.rows, said.total, said.discount, said.amount)
		}
		if misplaced > 0 {
			found(FoundMisplaced, path, "%d rows are of another account or day", misplaced)
		}
		if unordered > 0 {
			found(FoundOrder, path, "%d rows aren't in order of time, id and ordinal", unordered)
		}
	}
	return v.quarantine(ctx, p, d)
}

// vouched says that a window that was proven by the API's count holds as many records: one that stands twice on a page
// may count twice. An empty one holds none.
func vouched(s schemas.Seal) bool {
	switch s.Proof {
	case schemas.ProofEmpty:
		return s.Records == 0
	case schemas.ProofTotal:
		return s.Announced != nil && (*s.Announced == s.Records || *s.Announced == s.Records+s.Twice)
	}
	return true
}

// readDay reads every page of a day file, and sums it up.
func (v *verifier) readDay(ctx context.Context, p schemas.Partition, path string, schema int) (c content, misplaced,
	unordered int64, err error) {
	// The sum of the rows' hashes doesn't hang on their order, which readers are free to change; a HUGEINT holds it. Order
	// is looked at by itself: each row against the one before it. Two of one time, id and ordinal are out of order, too.
	err = v.d.conn.QueryRowContext(ctx, fmt.Sprintf(`
		SELECT count(*), coalesce(sum(total_amount), 0)::DECIMAL(38,12)::VARCHAR,
		coalesce(sum(discount_amount), 0)::DECIMAL(38,12)::VARCHAR, coalesce(sum(amount), 0)::DECIMAL(38,12)::VARCHAR,
		coalesce(sum(h), 0)::VARCHAR,
			count(*) FILTER (account IS DISTINCT FROM ? OR usage_date IS DISTINCT
			FROM ?::DATE OR request_time < ?::TIMESTAMPTZ OR request_time >= ?::TIMESTAMPTZ OR request_time IS NULL),
			count(*) FILTER (time_before > request_time OR time_before = request_time
			AND (%[1]s > %[2]s OR id_before = id AND ordinal_before >= ordinal))
		FROM (SELECT *, hash(%[3]s) AS h, lag(request_time) OVER () AS time_before, lag(id) OVER () AS id_before,
		lag(ordinal) OVER () AS ordinal_before
			FROM (SELECT %[4]s FROM read_parquet(%[5]s, hive_partitioning = false)))`,
		schemas.SQLOrderKey("id_before"), schemas.SQLOrderKey("id"), schemas.SQLColumns(schemas.UsageColumns()),
		schemas.SQLUsageColumns(schema), SqlGlob(path)),
		p.Account, p.Date.String(), p.Date.Start(), p.Date.End()).
		Scan(&c.rows, &c.total, &c.discount, &c.amount, &c.hash, &misplaced, &unordered)
	return c, misplaced, unordered, err
}

// footerContent is what a footer says, spelled as readDay spells it; without the hash.
func footerContent(f schemas.DayFooter) (content, error) {
	total, err1 := wideDecimal(f.TotalAmount)
	discount, err2 := wideDecimal(f.Discount)
	amount, err3 := wideDecimal(f.Amount)
	if err := errors.Join(err1, err2, err3); err != nil {
		return content{}, err
	}
	return content{rows: f.Rows, total: DecimalText(total), discount: DecimalText(discount), amount: DecimalText(amount)},
		nil
}

// quarantine holds the quarantine of a day against its day file: there just if that says so, derived together with it,
// and with as many records.
func (v *verifier) quarantine(ctx context.Context, p schemas.Partition, d *verifiedDay) error {
	path := v.lake.QuarantinePath(p)
	f := Finding{Path: path, Account: p.Account, Date: p.Date.String(), Hint: d.hint}
	n, want := int64(0), d.footer.Quarantined
	if d.pruned != nil {
		if d.pruned.QuarantineGone() { // a file that a prune is yet to delete is no part of the lake any more
			v.report.PrunedRejects += want
			return nil
		}
	}
	switch _, err := v.lake.FS.Stat(path); {
	case err == nil:
		v.report.QuarantineFiles++
		if d.quarantine, err = v.lake.Digest(path); err != nil {
			return err
		}
		digest, _, err := v.lake.FooterValue(path, p, load.DigestKey)
		if err == nil {
			err = v.lake.CheckBody(path)
		}
		if err == nil {
			n, _, err = v.readAll(ctx, path, schemas.QuarantineColumns())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.Check, f.Detail = FoundDay, load.Detail(err)
			v.add(f)
			return nil
		}
		switch {
		case d.pruned != nil && d.pruned.Quarantine != nil && d.quarantine != d.pruned.Quarantine.SHA256:
			f.Check, f.Detail = FoundPruned, load.Detail(v.lake.LostFile(p, path, false))
			v.add(f)
		case digest != d.footer.Digest:
			f.Check, f.Detail = FoundStale, "it was not derived together with the day file"
			v.add(f)
		}
		v.report.Quarantined += n
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if n != want {
		f.Check, f.Detail = FoundQuarantine, fmt.Sprintf("%d records are quarantined, the day file says %d", n, want)
		v.add(f)
	}
	return nil
}

// readAll reads every page of Parquet files, and returns their rows and a hash of them that doesn't depend on their
// order.
func (v *verifier) readAll(ctx context.Context, path string, columns []schemas.Column) (rows int64, sum string,
	err error) {
	err = v.d.conn.QueryRowContext(ctx,
		fmt.Sprintf("SELECT count(*), coalesce(sum(hash(%s)), 0)::VARCHAR FROM read_parquet(%s, hive_partitioning = false)",
			schemas.SQLColumns(columns), SqlGlob(path))).Scan(&rows, &sum)
	return rows, sum, err
}

// balance holds the balance file of a day against its sealed answers. One that can't be read keeps the published
// balances from being compared, since what they should sum to isn't known.
func (v *verifier) balance(ctx context.Context, p schemas.Partition) error {
	raws, err := v.lake.Balances(p)
	if err != nil {
		return err
	}
	path := v.lake.BalancePath(p)
	f := Finding{Path: path, Account: p.Account, Date: p.Date.String(), Hint: hintRebuild}
	b, err := v.lake.FS.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(raws) > 0 {
			f.Check, f.Detail = FoundMissing, fmt.Sprintf("%d balances are sealed, and no rows were derived from them",
				len(raws))
			v.add(f)
		}
		return nil
	case err != nil:
		return err
	}
	v.report.BalanceFiles++
	// As scan of a publisher has it, line by line: the two digests are compared.
	fmt.Fprintf(v.balances, "%s %x\n", p, sha256.Sum256(b))
	digest, _, err := v.lake.FooterValue(path, p, load.DigestKey)
	if err == nil {
		err = v.lake.CheckBody(path)
	}
	if err == nil {
		_, _, err = v.readAll(ctx, path, schemas.BalanceColumns())
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		f.Check, f.Detail = FoundDay, load.Detail(err)
		v.balanceBad = true
	case len(raws) == 0: // an orphan, below
	case v.opts.TransformVersion != 0 && digest != load.DayDigest(v.opts.TransformVersion, raws):
		f.Check, f.Detail = FoundStale, fmt.Sprintf("it was derived from other answers than the %d that are sealed, or by "+
			"another version", len(raws))
	}
	if f.Check != "" {
		v.add(f)
	}
	v.balanceFiles = append(v.balanceFiles, path)
	v.balanceDays = append(v.balanceDays, p)
	if orphan, err := v.lake.OrphanedBalance(p, raws); err != nil && !errors.As(err, new(*load.DamagedError)) {
		return err
	} else if orphan != nil {
		v.orphan(*orphan)
	}
	return nil
}
