package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// load.StatementsDir holds a directory for each closed month: its statements, its ledger, the rules it was closed with,
// and the manifest.
const (
	// ManifestName is the manifest's.
	ManifestName = "manifest.json"
	reopenedDir  = "reopened" // below load.StatementsDir: what months were closed with that were opened again
	// LedgerFile and LedgerFocus are the ledger of a closed month: what was charged in it, as rows of chargeback_daily and
	// of focus_closed.
	LedgerFile  = "ledger/chargeback.parquet"
	LedgerFocus = "ledger/focus.parquet"
)

// manifestFormat is the version of the manifest's layout.
const manifestFormat = 1

// Manifest says what a month was closed with and what was written for it. It is the first file to be checked, and
// the others are checked against it.
type Manifest struct {
	Format   int           `json:"format"`
	Month    schemas.Month `json:"month"`
	Period   string        `json:"period,omitempty"` // what the books call it, where that is something else
	ClosedAt time.Time     `json:"closed_at"`
	RunID    string        `json:"run_id"`
	Version  string        `json:"version"`
	By       *ClosedBy     `json:"closed_by,omitempty"` // nil of a month that an older version closed
	// 2 of a month that was reopened once; 0 of one that an older version closed
	Edition    int      `json:"statement_version,omitempty"`
	Reason     string   `json:"reason,omitempty"`     // why it was closed in spite of Objections
	Objections []string `json:"objections,omitempty"` // what stood against closing it
	// How complete the month was, as completeness of the published file, and which accounts lacked how much; "" of a month
	// that was closed by a version that didn't look.
	Completeness string            `json:"completeness,omitempty"`
	Lacking      []ManifestLacking `json:"lacking,omitempty"`
	// Books is the calendar that it was closed by, as schemas.Books.Text; "" is UTC's calendar months.
	Books string `json:"books,omitempty"`
	// BookCurrency is the currency that it was closed in, beside those of the charges; "" is none. Rates are what it keeps
	// for good, by currency and book day.
	BookCurrency string         `json:"book_currency,omitempty"`
	Rates        []ManifestRate `json:"rates,omitempty"`
	// Prepaid are the accounts that were billed prepaid; their ledger (PrepaidFile) is frozen up to the month's end.
	Prepaid []string        `json:"prepaid,omitempty"`
	Rules   ManifestRules   `json:"rules"`
	Totals  []ManifestTotal `json:"totals"`
	// Markups are what was charged on top; none of a month that an older version closed.
	Markups    []ManifestMarkup `json:"markups,omitempty"`
	Partitions []ManifestInput  `json:"partitions"`
	Files      []ManifestFile   `json:"files"`
	Chain      *ManifestChain   `json:"chain,omitempty"`     // nil of a month that an older version closed
	Signer     string           `json:"signed_by,omitempty"` // the public key, if the manifest is signed (SignatureFile)
}

// ManifestLacking is what an account lacked when the month was closed.
type ManifestLacking struct {
	Account string `json:"account"`
	Seconds int64  `json:"missing_seconds"`
}

// ClosedBy is who closed a month.
type ClosedBy struct {
	User string `json:"user"` // of the system
	Host string `json:"host"` // "" if it isn't known
}

// ManifestRules are the allocation rules a month was closed with. Their files are kept beside the manifest.
type ManifestRules struct {
	Digest string         `json:"digest"`
	Files  []ManifestFile `json:"files,omitempty"` // the rules file first, then its tables
}

// ManifestTotal is what was charged in the month in one currency, to the last of twelve decimals.
type ManifestTotal struct {
	Currency *string `json:"currency"`
	Requests int64   `json:"requests"`
	List     *string `json:"list_cost"`
	Discount *string `json:"discount"`
	Net      *string `json:"net_cost"`
	Book     *string `json:"book_cost,omitempty"` // in the currency of the books, exact
}

// ManifestInput is a day file the month was closed with: Digest is that of what it was derived from.
type ManifestInput struct {
	Account string `json:"account"`
	Date    string `json:"date"`
	Digest  string `json:"digest"`
}

// ManifestFile is a file of the closed month; Path is relative to the manifest, with slashes.
type ManifestFile struct {
	Name   string `json:"name,omitempty"` // of a file of the rules: what it was called
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// ClosedMonth is a month that is closed.
type ClosedMonth struct {
	Manifest
	Dir    string
	Digest string // SHA-256 of the manifest

	books *schemas.Books
}

// Name is what the books call the month.
func (c ClosedMonth) Name() string { return c.books.Name(c.Month) }

// Touches says whether some of a UTC day lies in the month.
func (c ClosedMonth) Touches(utc schemas.Date) bool {
	return slices.Contains(c.books.Touches(utc), c.Month)
}

// End is the instant at which the month ends.
func (c ClosedMonth) End() time.Time { return c.books.Starts(c.books.End(c.Month)) }

// ClosedWhole are the closed months that a UTC day lies in; none if some of it is open.
func ClosedWhole(closed []ClosedMonth, utc schemas.Date) []ClosedMonth {
	var out []ClosedMonth
	for _, c := range closed {
		if c.Touches(utc) {
			out = append(out, c)
		}
	}
	if OpenOf(closed, utc) != "" {
		return nil
	}
	return out
}

// OpenOf is what the books call the first month that a UTC day lies in and that isn't closed; "" if all of it is. The
// books are those of the last closed month: they have each closed month as its own have it.
func OpenOf(closed []ClosedMonth, utc schemas.Date) string {
	var books *schemas.Books
	if len(closed) > 0 {
		books = closed[len(closed)-1].books
	}
	for _, m := range books.Touches(utc) {
		if !slices.ContainsFunc(closed, func(c ClosedMonth) bool { return c.Month == m }) {
			return books.Name(m)
		}
	}
	return ""
}

// RuleFile is a file of allocation rules, or a table they look up.
type RuleFile struct {
	Name    string
	Content []byte
}

// Closed lists the closed months in order. A manifest that can't be read is an error: without it, what is charged in
// the month could change.
func (l *Lake) Closed() ([]ClosedMonth, error) {
	entries, err := l.FS.ReadDir(l.Path(load.StatementsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var closed []ClosedMonth
	for _, e := range entries {
		// Other names are none of ours: the folder of months that were opened again, and what people put there.
		month, err := schemas.ParseMonth(e.Name())
		if err != nil {
			continue
		}
		c, err := l.closedMonth(month)
		if err != nil {
			return nil, err
		}
		closed = append(closed, c)
	}
	slices.SortFunc(closed, func(a, b ClosedMonth) int { return int(a.Month - b.Month) })
	return closed, nil
}

func (l *Lake) closedMonth(month schemas.Month) (ClosedMonth, error) {
	return l.readManifest(month, l.Path(load.StatementsDir, month.String()))
}

// readManifest reads what a month was closed with, in the directory of a month that is closed or was.
func (l *Lake) readManifest(month schemas.Month, dir string) (ClosedMonth, error) {
	c := ClosedMonth{Dir: dir}
	name := filepath.Join(c.Dir, ManifestName)
	b, err := l.FS.ReadFile(name)
	if err != nil {
		return c, fmt.Errorf("closed month %s: %w\nhint: restore %s from a backup", month, err, c.Dir)
	}
	err = json.Unmarshal(b, &c.Manifest)
	switch {
	case c.Format > manifestFormat: // whatever else it has that isn't known here
		return c, fmt.Errorf("closed month %s: %w (its manifest's format is %d, this version knows %d)",
			month, load.ErrNewer, c.Format, manifestFormat)
	case err != nil:
		return c, fmt.Errorf("closed month %s: %s is damaged: %w\nhint: restore %s from a backup", month, name, err, c.Dir)
	case c.Format < 1 || c.Month != month:
		return c, fmt.Errorf("closed month %s: %s is damaged: it says format %d, month %q\nhint: restore %s from a backup",
			month, name, c.Format, c.Month, c.Dir)
	}
	if c.books, err = schemas.ParseBooks(c.Books); err != nil {
		return c, fmt.Errorf("closed month %s: %s: %w", month, name, err)
	}
	sum := sha256.Sum256(b)
	c.Digest = hex.EncodeToString(sum[:])
	return c, nil
}

// ClosedRules reads the files of the rules the month was closed with.
func (l *Lake) ClosedRules(c ClosedMonth) ([]RuleFile, error) {
	files := make([]RuleFile, 0, len(c.Rules.Files))
	for _, f := range c.Rules.Files {
		if !filepath.IsLocal(f.Path) {
			return nil, fmt.Errorf("closed month %s: the manifest names the file %q, which lies elsewhere", c.Month, f.Path)
		}
		b, err := l.FS.ReadFile(filepath.Join(c.Dir, filepath.FromSlash(f.Path)))
		if err != nil {
			return nil, fmt.Errorf("closed month %s: read its allocation rules: %w\nhint: restore %s from a backup", c.Month,
				err, c.Dir)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != f.SHA256 {
			return nil, fmt.Errorf("closed month %s: its allocation rules %s were changed since it was closed\nhint: restore "+
				"%s from a backup", c.Month, f.Path, c.Dir)
		}
		files = append(files, RuleFile{Name: f.Name, Content: b})
	}
	return files, nil
}
