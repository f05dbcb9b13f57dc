package schemas

import "time"

// DayFooter is what a day file says about itself: JSON under FooterKey in the Parquet footer. It makes the file tell
// what it was derived from, so that what is stale is read off the files, and it lets the published file be built from
// the day files alone.
type DayFooter struct {
	Schema    int    `json:"schema"`    // SchemaVersion
	Transform int    `json:"transform"` // transform.Version
	Digest    string `json:"digest"`    // hex SHA-256 over schema, transform and the sealed windows, in order

	Windows []DayWindow `json:"windows"` // every sealed window of the day, in order of Seq
	DayStats
	Issues []Issue `json:"issues,omitempty"` // ordered by check, field, model, detail
}

// DayWindow is a sealed window as the day's coverage shows it.
type DayWindow struct {
	Seq       int       `json:"seq"`
	Start     time.Time `json:"start"` // [Start, End), UTC
	End       time.Time `json:"end"`
	Announced *int64    `json:"announced"` // as in Seal
	// Records are those within [start, end); of a window that owns nothing, Listed.
	Records int64 `json:"records"`
	// As in Seal, where Listed is called Records: what came for what was asked, margins included.
	Listed      int64     `json:"listed,omitempty"`
	AskedStart  int64     `json:"asked_start,omitempty"`
	AskedEnd    int64     `json:"asked_end,omitempty"`
	PageSize    int       `json:"page_size,omitempty"`
	PageRecords int       `json:"page_records,omitempty"`
	Lacking     int64     `json:"lacking,omitempty"`
	Pages       int       `json:"pages"`
	Requests    int       `json:"requests"`
	Proof       string    `json:"proof"`
	FetchedAt   time.Time `json:"fetched_at"`
	RunID       string    `json:"run_id"`
	Owns        bool      `json:"owns"` // some instant of the day is still this window's
}

// DayStats are the counts of a day, of owned instants only but for Before and After.
type DayStats struct {
	Rows        int64 `json:"rows"`        // in usage.parquet
	Quarantined int64 `json:"quarantined"` // in quarantine.parquet
	// records left out because the same one (id and content) had come already in the window
	Duplicates int64 `json:"duplicates"`
	// records outside the owned instants: margins, what a later window owns, what came with two
	Ignored int64 `json:"ignored"`
	// Of Quarantined, records without a usable time and without an id whose very bytes a window next to theirs brought,
	// too: where the two meet, they may be one record that came with both, and then the day holds more than the API.
	MaybeTwice int64 `json:"maybe_twice,omitempty"`
	// Records that the day's windows brought from before it and from after it: its margins, and what the API lists by
	// another clock than request_time. Each counts once, whichever windows brought it. rows + quarantined + before + after
	// is what the API counts for the day when asked with the same margins, if maybe_twice is 0.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Summary holds the total_tokens of the day with both margins, for the summary answer, which announces tokens
	// in place of a count; nil if no summary answer came.
	SummaryTokens *int64 `json:"summary_tokens,omitempty"`
	// Exact sums over rows, decimal text; NULLs are left out of them.
	TotalAmount string `json:"total_amount"`
	Discount    string `json:"discount_amount"`
	Amount      string `json:"amount"`
}

// FooterKey is the key of the Parquet footer's metadata that holds DayFooter.
const FooterKey = "usagelake.day"

// MaxIssues is how many distinct issues a day lists; what is beyond is counted in one issue of CheckMore.
const MaxIssues = 500

// Severities of an Issue.
const (
	Info    = "info"    // worth knowing
	Warning = "warning" // a figure to look at before it is posted
	Failure = "error"   // figures that contradict each other or can't be used
)

// Checks, the names an Issue goes by.
const (
	CheckGross     = "gross_mismatch" // total_amount is not Σ price × tokens + ext amounts
	CheckNet       = "net_mismatch"   // amount is not total_amount − discount_amount
	CheckDuplicate = "duplicate_id"   // the same record, by id and content, came more than once in a window
	CheckShared    = "shared_id"      // records of a window have one id and other content: each counts
	// records of one id and second differ in nothing that a column of its own holds: each counts
	CheckAlike      = "alike_records"
	CheckUnlisted   = "unlisted_record"   // a record that a window lists from the time of another, which does not
	CheckIncomplete = "incomplete_window" // a window is not proven to be all that the API has
	CheckOverlap    = "account_overlap"   // two accounts hold the same records
	CheckNotAsked   = "outside_window"    // records outside of what was asked for by more than MaxLag (quarantined)
	CheckQuarantine = "quarantined"       // records quarantined, by reason and field
	CheckNegative   = "negative_count"    // a count of tokens below 0
	CheckPrice      = "price_change"      // a model had more than one price
	CheckUnknown    = "unknown_field"     // drift: a field that no column holds
	CheckMissing    = "missing_field"     // drift: a field of the detailed answer that did not come
	CheckExt        = "unreadable_ext"    // ext could not be read as groups of items; kept in extra
	CheckCurrency   = "unknown_currency"  // neither /balance nor the config named one
	CheckNoAmount   = "no_amount"         // records without an amount (summary records have none)
	CheckTotal      = "unreliable_total"  // the API's total disagreed with what was proven without it
	CheckMore       = "more"              // issues beyond MaxIssues
)

// Issue is a finding of a quality check, summed over a day: what, where, how often, an example.
type Issue struct {
	Check    string `json:"check"`
	Severity string `json:"severity"`
	Field    string `json:"field,omitempty"` // the API's name
	Model    string `json:"model,omitempty"`
	Count    int64  `json:"count"`            // records
	SampleID string `json:"sample,omitempty"` // id of the first such record
	Detail   string `json:"detail,omitempty"` // for a person, with exact figures
}
