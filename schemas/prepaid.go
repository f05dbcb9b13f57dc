package schemas

// Credit is a top-up of a prepaid account as it pays.
type Credit struct {
	TopUp
	ID   string // names it among those of its account and currency
	From Date   // the book day from which it pays: that of the top-up, or later if it was told later
}

// Expired says whether the credit pays no more on a book day.
func (c Credit) Expired(day Date) bool { return c.Expires != nil && *c.Expires <= day }

// What a CreditEntry is.
const (
	EntryTopUp     = "top_up"    // the credit pays from this day on
	EntryDraw      = "draw"      // usage of the day; below 0: a refund that gave the credit back
	EntryCover     = "cover"     // of what was overdrawn before
	EntryExpiry    = "expiry"    // what was left as it expired, or was given back after that: breakage
	EntryOverdrawn = "overdrawn" // usage that no credit covers; below 0: a refund of it, or of what was never drawn
)

// CreditEntry is a line of the ledger of an account's prepaid credit, in a currency. Those of a day are in the order in
// which they came about.
type CreditEntry struct {
	Day    Date    // book day
	Kind   string  // EntryTopUp, …
	Credit *Credit // nil of EntryOverdrawn
	Amount Money
}

// DayUsage is what a book day's usage comes to.
type DayUsage struct {
	Day    Date
	Amount Money
}
