package schemas

import (
	"context"
	"iter"
	"time"
)

// Page is one answer of the API, as it came.
type Page struct {
	Number    int       // as asked for, from 1
	RequestID string    // meta.request_id of the answer; "" if it had none
	FetchedAt time.Time // UTC, when the answer was complete
	Body      []byte    // the JSON document, decompressed, otherwise untouched
}

// The kinds of answer the raw archive holds.
const (
	KindUsage   = "usage"
	KindBalance = "balance"
)

// How a window was proven complete.
const (
	// ProofTotal: the paging ended and the count of distinct records agreed with the announced total.
	ProofTotal = "total"
	// ProofParts: the total could not be believed (or there was none), and the window fetched whole and in parts of time
	// gave the same records.
	ProofParts = "parts"
	// ProofRepeat: two whole passes gave the same records: seconds, which have no parts, and windows of before ProofParts.
	ProofRepeat = "repeat"
	// ProofEmpty: nothing came, and a second look at another time found nothing, either.
	ProofEmpty = "empty"
	// ProofNone: what could be had of a window that can't be cut any further, and isn't proven to be all.
	ProofNone = "none"
)

// Seal is what the raw archive says of a fetched window: the first line of its file. It is written once, when the
// window is proven complete, and never changed.
type Seal struct {
	Format  int    `json:"format"` // of the raw file: RawFormat
	Kind    string `json:"kind"`   // KindUsage or KindBalance
	Account string `json:"account"`
	// [Start, End) is what the window may own: UTC, whole seconds, within one day. A balance has the second it was
	// asked for.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// What was asked for, which is a second wider where the API's ends are uncertain. Unix seconds, sent as they
	// stand here; a record at either second may have come or not.
	AskedStart int64 `json:"asked_start,omitempty"`
	AskedEnd   int64 `json:"asked_end,omitempty"`
	PageSize   int   `json:"page_size,omitempty"` // as asked for
	// PageRecords is how many records the longest page held: what the server gives for such a size, if there was more
	// than one page.
	PageRecords int `json:"page_records,omitempty"`

	Announced *int64 `json:"announced"`       // the API's own count for what was asked; null if it gave none
	Records   int64  `json:"records"`         // distinct records (id and content) that came for what was asked
	Kept      int64  `json:"kept,omitempty"`  // of Records, those that show no time outside of [Start, End)
	Twice     int64  `json:"twice,omitempty"` // records that stood twice on one page, which the API may count twice
	Proof     string `json:"proof,omitempty"` // one of the Proof constants
	// Lacking is how many more records the API announces than could be had, where Proof is ProofNone; 0 if it is not
	// known.
	Lacking int64 `json:"lacking,omitempty"`

	Pages      int       `json:"pages"`
	Requests   int       `json:"requests"` // it took, retries included
	RequestIDs []string  `json:"request_ids"`
	FetchedAt  time.Time `json:"fetched_at"` // UTC, when the window was complete; carried into every row
	RunID      string    `json:"run_id"`
	Version    string    `json:"version"` // of the program that sealed it

	// Currency is the account's billing currency as /balance named it when the window was fetched, else the config's;
	// "" if neither did.
	Currency string `json:"currency,omitempty"`

	// Digest is the hex SHA-256 of everything that follows the first line. The archive sets it.
	Digest string `json:"digest"`
}

// RawFormat is the version of the raw archive's files that this program writes. It reads this and all older ones.
const RawFormat = 1

// Window is the interval the seal is about.
func (s Seal) Window() Window { return Window{Account: s.Account, Start: s.Start, End: s.End} }

// Sealed is a window in the raw archive, ready to be read.
type Sealed struct {
	Seal Seal
	// Seq orders the windows of a partition by when they were sealed, from 1, whatever the clock did.
	Seq int
	// Pages reads the answers in the order of their numbers. A Page and its Body are valid until the next step.
	// The iteration ends with the first error; damage is found at the latest at the end.
	Pages func(context.Context) iter.Seq2[Page, error]
	// Whole reads all answers at once into the memory of buf, and returns it as it has grown: bodies are part of it, and
	// valid until it is handed in again. Most have room behind them for what reads JSON where it lies (scan.Padded). It is
	// false of a window that is too large, which is to be read by Pages. Damage is found before anything is returned. nil
	// if there is Pages alone.
	Whole func(ctx context.Context, buf []byte) (pages []Page, grown []byte, ok bool, err error)
}

// Reject is a record (or something that stood in a record's place) that could not be normalised.
type Reject struct {
	Window    Window
	Reason    string // one of the Reason constants
	Field     string // the API's name of the field, "" if the record as a whole is at fault
	Raw       []byte // the JSON as it came
	RequestID string
	FetchedAt time.Time
	RunID     string
}

// Why a record is quarantined.
const (
	ReasonNotObject   = "not_an_object"  // the list holds something that is no record
	ReasonNoTime      = "no_time"        // no request_time, or one that can't be read as Unix seconds
	ReasonTimeUnit    = "time_unit"      // a request_time in milliseconds or finer
	ReasonNotAsked    = "not_asked"      // outside the bounds that were asked for, by more than MaxLag
	ReasonNoID        = "no_id"          // no id, or an empty one
	ReasonNotInteger  = "not_an_integer" // a count that isn't a whole number of 64 bits
	ReasonNotNumber   = "not_a_number"   // an amount that isn't a number
	ReasonOutOfRange  = "out_of_range"   // an amount beyond DECIMAL(18,12), or a count beyond 64 bits
	ReasonWrongType   = "wrong_type"     // a text field that holds an object, an array or a boolean
	ReasonUnreadable  = "unreadable"     // not JSON, or nested too deeply
	ReasonUnknownPage = "unknown_page"   // a whole answer of neither known shape
)
