package schemas

import (
	"github.com/apache/arrow-go/v18/arrow"
)

// SchemaVersion counts the layouts of the day files: their columns, and how these are encoded. A file of an older one
// is derived anew from the raw archive. Whatever makes the same rows other bytes raises it, since prune compares bytes.
//
// 2: smaller encodings of the same columns, and items of ext_items that can't be NULL.
//
// 3: the column ordinal. In a file of before an id stands once, so that it is 1 of each row (SchemaOrdinal).
//
// 4: created_by in the form that parquet-java parses, money without DELTA_BINARY_PACKED, and the order of rows is
// declared.
const SchemaVersion = 4

// SchemaOrdinal is the first SchemaVersion whose day files have the column ordinal.
const SchemaOrdinal = 3

// MaxRowGroup is the largest row group of a day file, in rows: DuckDB's own, beyond which its tables double in size.
const MaxRowGroup = 122_880

// The values of the column record_kind.
const (
	RecordRequest = "request" // a record of the detailed answer: one call to a model
	RecordSummary = "summary" // a record of the summary answer: tokens of a model at a time, no id, no money
)

// Column is a column of a lake's table: its name, its type in Arrow and what it means. The comment is carried into the
// Parquet field metadata and into DuckDB's COMMENT ON.
type Column struct {
	Name     string
	Type     arrow.DataType
	Nullable bool
	Comment  string
}

// Types that the columns share. A decimal is 64 bits wide everywhere; a time is UTC.
var (
	decimalType = &arrow.Decimal64Type{Precision: DecimalPrecision, Scale: DecimalScale}
	// balanceType is wider: a balance or a credit line can exceed a million.
	balanceType = &arrow.Decimal128Type{Precision: 38, Scale: DecimalScale}
	timeType    = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}

	extItemFields = []arrow.Field{
		{Name: "category", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "item", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "unit", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "price", Type: decimalType, Nullable: true},
		{Name: "usage", Type: decimalType, Nullable: true},
		{Name: "amount", Type: decimalType, Nullable: true},
	}
	extItemsType = arrow.ListOfNonNullable(arrow.StructOf(extItemFields...))
)

// Positions of the columns of UsageColumns.
const (
	ColAccount = iota
	ColUsageDate
	ColRequestTime
	ColID
	ColOrdinal
	ColRecordKind
	ColTokenID
	ColUserID
	ColCustomUserID
	ColModel
	ColModelType
	ColChannelID
	ColInputTokens
	ColOutputTokens
	ColCachedTokens
	ColTotalTokens
	ColInputPrice
	ColOutputPrice
	ColCachedPrice
	ColTotalAmount
	ColDiscountAmount
	ColAmount
	ColCurrency
	ColExtItems
	ColExtra
	ColFetchedAt
	ColRunID
)

// UsageColumns are the columns of usage, in order: one row a record.
func UsageColumns() []Column {
	str, i64 := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64
	return []Column{
		{"account", str, false, "Name of the account in the config whose key fetched the record."},
		{"usage_date", arrow.FixedWidthTypes.Date32, false, "UTC day of request_time; the partition."},
		{"request_time", timeType, false, "When the request was made, UTC."},
		{"id", str, false,
			"The API's id of the record; several records may have one. Of a summary record, which has none: made up from its " +
				"content, the same on every run."},
		{"ordinal", i64, false,
			"1, and of further records with the same account, request_time and id 2, 3, …: in the order of their content, the " +
				"same on every run. These four columns together name a record."},
		{"record_kind", str, false,
			"request: one call to a model. summary: tokens of a model at a time, without id and money."},
		{"token_id", str, true, "API token the request was made with."},
		{"user_id", str, true, "Member of the organisation the token belongs to."},
		{"custom_user_id", str, true,
			"What the calling application sent as its own user: free text, not to be trusted. Often empty."},
		{"model", str, true, "Model that was called."},
		{"model_type", str, true, "Kind of model, such as text; an open set."},
		{"channel_id", i64, true, "Upstream channel the gateway used."},
		{"input_tokens", i64, true, "Input tokens, not counting the cached ones."},
		{"output_tokens", i64, true, "Output tokens."},
		{"cached_tokens", i64, true, "Input tokens that were read from the cache."},
		{"total_tokens", i64, true,
			"Input + cached + output tokens of those that were sent. Of a summary record: its tokens."},
		{"input_price", decimalType, true, "Price per million input tokens."},
		{"output_price", decimalType, true, "Price per million output tokens."},
		{"cached_price", decimalType, true, "Price per million cached tokens."},
		{"total_amount", decimalType, true, "List cost: the gross charge, before the discount."},
		{"discount_amount", decimalType, true, "What was taken off the gross charge."},
		{"amount", decimalType, true, "Net cost: what was really charged. Negative for a refund."},
		{"currency", str, true, "ISO 4217 code of the amounts, as /balance or the config names it."},
		{"ext_items", extItemsType, true,
			"Charges beyond the tokens (images, audio, tools): by category and item. Empty if ext was empty, NULL if it was " +
				"absent."},
		{"extra", str, true,
			"JSON object of every field that no column holds; unknown members below ext under ext. NULL if there were none."},
		{"fetched_at", timeType, false, "When the window that owns the record was fetched, UTC."},
		{"run_id", str, false, "Run that fetched the window."},
	}
}

// QuarantineColumns are the columns of quarantine: one row a record that could not be normalised.
func QuarantineColumns() []Column {
	str := arrow.BinaryTypes.String
	return []Column{
		{"account", str, false, "Name of the account in the config."},
		{"window_start", timeType, false, "Start of the window the record came in, UTC, inclusive."},
		{"window_end", timeType, false, "End of that window, UTC, exclusive."},
		{"reason", str, false, "Why the record could not be normalised."},
		{"field", str, true, "The API's name of the field at fault; NULL if the record as a whole is."},
		{"raw", str, false, "The JSON as it came (bytes that are no UTF-8 replaced; the raw archive has them)."},
		{"request_id", str, true, "The API's id of the answer that held the record."},
		{"fetched_at", timeType, false, "When the window was fetched, UTC."},
		{"run_id", str, false, "Run that fetched the window."},
	}
}

// BalanceColumns are the columns of balance: one row for each time it was asked for.
func BalanceColumns() []Column {
	str := arrow.BinaryTypes.String
	return []Column{
		{"account", str, false, "Name of the account in the config."},
		{"observed_at", timeType, false, "When the balance was asked for, UTC."},
		{"balance", balanceType, true, "Balance, from balance_str where it came, which is the exact figure."},
		{"coupon_balance", balanceType, true, "What is left of coupons."},
		{"credit_limit", balanceType, true, "Credit line."},
		{"total_coupon_amount", balanceType, true, "Coupons granted so far."},
		{"currency", str, true, "ISO 4217 code (currency_code)."},
		{"extra", str, true, "JSON object of every field that no column holds; NULL if there were none."},
		{"request_id", str, true, "The API's id of the answer."},
		{"run_id", str, false, "Run that asked."},
	}
}

// UsageSchema is the Arrow schema of UsageColumns.
func UsageSchema() *arrow.Schema { return arrowSchema(UsageColumns()) }

// QuarantineSchema is the Arrow schema of QuarantineColumns.
func QuarantineSchema() *arrow.Schema { return arrowSchema(QuarantineColumns()) }

// BalanceSchema is the Arrow schema of BalanceColumns.
func BalanceSchema() *arrow.Schema { return arrowSchema(BalanceColumns()) }

func arrowSchema(columns []Column) *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{
			Name: c.Name, Type: c.Type, Nullable: c.Nullable,
			Metadata: arrow.NewMetadata([]string{"comment"}, []string{c.Comment}),
		}
	}
	return arrow.NewSchema(fields, nil)
}
