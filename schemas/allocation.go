package schemas

import "math/big"

// Unallocated is what stands in place of a cost centre where no rule matched. It is a row of every report, never a
// missing one.
const Unallocated = "(unallocated)"

// AllocationKey is what an allocation rule may match on: the columns of usage of the same names. nil is NULL.
type AllocationKey struct {
	Account      string
	TokenID      *string
	UserID       *string
	CustomUserID *string
	Model        *string
	ModelType    *string
	ChannelID    *int64
}

// The fields of an AllocationKey beside the account, which is always part of it, as columns of usage.
const (
	FieldAccount      = "account"
	FieldTokenID      = "token_id"
	FieldUserID       = "user_id"
	FieldCustomUserID = "custom_user_id"
	FieldModel        = "model"
	FieldModelType    = "model_type"
	FieldChannelID    = "channel_id"
)

// Owner is who pays: what a rule or a split assigns. An empty field is not assigned (NULL in tables). It can be
// compared.
type Owner struct {
	CostCenter  string
	Team        string
	Project     string
	Environment string
	GLCode      string
	Tags        string // a flat JSON object, its keys sorted; "" if none
}

// Assignment is what the rules say of a record.
type Assignment struct {
	Owner
	RuleID  string // "" if no rule matched: then Owner is empty too
	Version int    // which of the rule's versions, from 1 in order of their validity
	Source  string // where its words stand: "allocation.yaml:12", for a row of a table "allocation.yaml:12 tokens.csv:7"
	Pool    string // the shared pool the cost goes to, to be split; "" if it goes to Owner directly
}

// Name is what people call something that the API, or a rule, has an id of.
type Name struct {
	Kind string // one of NameKinds
	ID   string
	Name string
}

// NameKinds are what can have a Name, as columns of reports are called: a token of the API, a user, a model, a cost
// centre, an account.
func NameKinds() []string { return []string{"token", "user", "model", "cost_center", "account"} }

// AllocationRule is a rule as a row of the table allocation_rules.
type AllocationRule struct {
	Position  int // from 1, in the order of the file: the first that matches wins
	RuleID    string
	Version   int
	ValidFrom *Date // nil: from ever
	ValidTo   *Date // excluded; nil: for ever
	Match     string
	Assigns   string // in words: "cost_center=R&D, team from tokens.csv", "pool platform"
	Pool      string
	Source    string
}

// SharedPool is a pool as a row of the table shared_pools.
type SharedPool struct {
	Pool   string
	Method string // fixed, even, usage or cost
	Source string
}

// Measures are the sums that allocation carries; nil is NULL: no record of the group has the figure. The currency
// stands beside them.
type Measures struct {
	Requests      int64
	WithoutAmount int64 // of these, records without an amount
	Input, Output *big.Int
	Cached, Total *big.Int
	List          *Money // total_amount
	Discount      *Money // discount_amount
	Net           *Money // amount
}

// PoolCost is a group of records of one UTC day and book day that a rule sent to a shared pool.
type PoolCost struct {
	Pool       string
	RuleID     string
	Version    int
	Date       Date // UTC
	Book       Date // book day
	Account    string
	Model      *string
	ModelType  *string
	RecordKind string
	Currency   *string
	Measures
}

// DirectCost is what one owner cost directly, without any share of a pool, in a month and a currency: what a split by
// usage or cost goes by.
type DirectCost struct {
	Owner
	Currency *string
	Tokens   *big.Int // total_tokens; nil is none
	Net      *Money   // amount; nil is none
}

// PoolShare is one owner's part of a PoolCost. The shares of a PoolCost sum to it in every measure.
type PoolShare struct {
	PoolCost // the part's measures
	Owner    Owner
	// how the split was made: fixed, even, usage, cost, or "even (no usage)" and "even (no cost)" where the basis was nil
	Method string
	Basis  string // the owner's weight in words: "3 of 10", "12.5 of 40 USD"
	// the weight ÷ the sum of the weights, rounded to 12 places: for reading; the parts come from the weights
	Ratio Decimal
}

// Periods of a Budget, of the books; BudgetOnce is from its first day to its last.
const (
	BudgetMonth   = "month"
	BudgetQuarter = "quarter"
	BudgetYear    = "year"
	BudgetOnce    = "once"
)

// Budget is an amount that a scope may cost in each period.
type Budget struct {
	Name       string
	Scope      string // one of BudgetScopes; "" is everything
	Value      string // of the scope
	Period     string // BudgetMonth, …
	Amount     Money
	Currency   string
	From       *Date     // the first period's first day; nil: from ever
	To         *Date     // excluded; nil: for ever
	Thresholds []Decimal // shares of Amount that are worth a word, such as 0.8 and 1, in order
}

// BudgetScopes are what a Budget can be for, as the config and the columns of chargeback_daily are called.
func BudgetScopes() []string {
	return []string{"cost_center", "team", "project", "environment", "account", "model"}
}

// Markup is what a cost centre is charged on top of its cost in each period: any of its parts, which add up.
type Markup struct {
	CostCenter string   // "" is each that is charged in the period and has none by its name
	Percent    *Decimal // of the net cost, in each currency
	PerRequest *Money   // for each record
	PerPeriod  *Money   // whatever was used
	Minimum    *Money   // that cost and mark-up come to at least
	Currency   string   // of the amounts; "" if there are none
	From       *Month   // the first period; nil: from ever
	To         *Month   // excluded; nil: for ever
}

// MetricLine is what the company counted or earned in a month or on a day, as a file of metrics says.
type MetricLine struct {
	Metric   string // orders, customers, revenue, …
	Month    Month  // of the books
	Date     *Date  // the book day; nil: the whole month
	Scope    string // one of BudgetScopes; "" is everything
	Of       string // of the scope
	Value    Money
	Currency string // of an amount; "" of a number
	Source   string // "metrics.csv:7"
}

// InvoiceLine is a line of an invoice. One without a model and day is the invoice's total of the period.
type InvoiceLine struct {
	Invoice  string // its number
	Account  string // "" if it is for all
	From     Date
	To       Date // excluded
	Date     *Date
	Model    *string
	Amount   Money
	Currency string
	Book     *Money // what it came to in the currency of the books; nil: it doesn't say
	Source   string // "invoices.csv:7"
}

// Kinds of a TopUp.
const (
	TopUpPaid   = "paid"   // money that was paid in
	TopUpCoupon = "coupon" // given, to be used before it expires
	TopUpCredit = "credit" // made good by the vendor
)

// TopUp is what was added to an account's balance, as a file of the config says.
type TopUp struct {
	Account   string
	Date      Date // UTC day; of a prepaid account a book day
	Amount    Money
	Currency  string
	Kind      string
	Reference string // "" if there is none
	Expires   *Date  // first day on which what is left of it counts no more; nil: it doesn't expire
	Source    string // "topups.csv:7"
}

// How an account is billed: by what it used afterwards, or drawing on what was paid ahead.
const (
	Postpaid = "postpaid"
	Prepaid  = "prepaid"
)

// In which order credits of a prepaid account are drawn on.
const (
	DrawFIFO         = "fifo"          // the one that was topped up first
	DrawCouponsFirst = "coupons_first" // coupons before money, what expires first before what expires later or never
)

// Billing says how an account is billed.
type Billing struct {
	Account  string
	Billing  string // Postpaid or Prepaid
	Draw     string // DrawFIFO or DrawCouponsFirst; "" of a postpaid account
	Currency string // as the config or its top-ups have it; "" if neither says one
	// TopUpsGiven says that a file of top-ups has all that was added to its balance.
	TopUpsGiven bool
}
