package evidence

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// before are the columns of the sums of what was entered before the month's ledger of prepaid credit.
const before = "account, currency, credit, kind, entry, sum(amount) AS amount, " +
	"min(book_date) FILTER (entry = 'top_up') AS pays_from, min(top_up_date) AS top_up_date, min(expires) AS expires, " +
	"min(reference) AS reference, min(source) AS source"

// prepaid writes how the charges of prepaid accounts were paid: the month's ledger of top-ups, draws and expiries, of a
// closed month as it is, and the sums of what closed months before have of the same credits. There are none where no
// account is prepaid.
func (w *writer) prepaid(ctx context.Context) error {
	ledger := w.path("month", filepath.FromSlash(publish.PrepaidFile))
	if c := w.Closed; c != nil {
		if !c.Has(publish.PrepaidFile) {
			return nil
		}
		w.accounts = c.Prepaid
		if err := w.copy(filepath.Join(c.Dir, filepath.FromSlash(publish.PrepaidFile)), "month",
			filepath.FromSlash(publish.PrepaidFile)); err != nil {
			return err
		}
	} else {
		rows, err := query.Run(ctx, w.Lake, "SELECT account FROM account_billing WHERE billing = 'prepaid' ORDER BY 1")
		if err != nil {
			return err
		}
		defer rows.Close()
		for row, err := range rows.All(ctx) {
			if err != nil {
				return err
			}
			w.accounts = append(w.accounts, row[0].Text)
		}
		if len(w.accounts) == 0 {
			return nil
		}
		// What a close would keep.
		kept := "SELECT * EXCLUDE (closed_in) FROM prepaid_ledger WHERE closed_in IS NULL AND billing_month <= DATE '" +
			w.Month.First().String() + "' ORDER BY ALL"
		if _, err := query.WriteParquet(ctx, w.Lake, kept, ledger); err != nil {
			return err
		}
	}
	closed, err := w.Lake.Closed()
	if err != nil {
		return err
	}
	var files []string
	for _, c := range closed {
		if c.Month < w.Month && c.Has(publish.PrepaidFile) {
			files = append(files, schemas.SQLString(filepath.Join(c.Dir, filepath.FromSlash(publish.PrepaidFile))))
		}
	}
	from := "read_parquet([" + strings.Join(files, ", ") + "], hive_partitioning = false)"
	if len(files) == 0 { // the columns alone
		from = "(FROM read_parquet(" + schemas.SQLString(ledger) + ") WHERE false)"
	}
	return w.derived(ctx, "prepaid_before", "SELECT "+before+" FROM "+from+
		" GROUP BY account, currency, credit, kind, entry ORDER BY ALL")
}

// markups writes what the cost centre is charged on top of its cost: of a closed month what its manifest keeps, and
// else what was published.
func (w *writer) markups(ctx context.Context) error {
	if w.Closed == nil {
		_, err := query.WriteParquet(ctx, w.Lake, fmt.Sprintf(`SELECT cost_center, currency, requests, net_cost, percent,
			percent_markup, request_markup, period_fee, minimum_charge FROM markup_monthly
			WHERE "month" = DATE '%s' AND cost_center = %s ORDER BY ALL`, w.Month.First(), schemas.SQLString(w.CostCenter)),
			w.path("markups.parquet"))
		return err
	}
	markups := []publish.ManifestMarkup{}
	for _, m := range w.Closed.Markups {
		if m.CostCenter == w.CostCenter {
			markups = append(markups, m)
		}
	}
	return w.rows(ctx, "markups", markupColumns, markups)
}

const markupColumns = "{cost_center: 'VARCHAR', currency: 'VARCHAR', requests: 'BIGINT', net_cost: 'DECIMAL(38,12)', " +
	"percent: 'DECIMAL(9,6)', percent_markup: 'DECIMAL(38,12)', request_markup: 'DECIMAL(38,12)', " +
	"period_fee: 'DECIMAL(38,12)', minimum_charge: 'DECIMAL(38,12)'}"
