package schemas

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// The versions of FOCUS, the FinOps Open Cost and Usage Specification, that the published file speaks.
const (
	Focus12 = "1.2"
	Focus14 = "1.4"
)

// FocusVersions lists them, the default first.
func FocusVersions() []string { return []string{Focus12, Focus14} }

// FocusView is the view of the published file in a version of FOCUS; "" if there is none.
func FocusView(version string) string {
	return map[string]string{Focus12: "focus", Focus14: "focus_1_4"}[version]
}

// Whose name stands in the FOCUS columns that say who provides, sells and hosts a service: the gateway that the usage
// was bought of. Whose model it was is told by PublisherName and x_ModelVendor, where the model's name says it.
const (
	FocusProvider    = "R9S Portal"
	FocusServiceName = "LLM API"
)

// FocusSchemaDate is when the columns of a dataset, or their types, were changed last: CreationDate of FOCUS's metadata.
const FocusSchemaDate = "2026-11-29T00:00:00Z"

// How FOCUS asks for a column.
const (
	FocusMandatory   = "Mandatory"
	FocusConditional = "Conditional" // mandatory if what is billed has the feature
	FocusRecommended = "Recommended"
	FocusCustom      = "Custom" // not of FOCUS
)

// The data types of FOCUS.
const (
	FocusString   = "String"
	FocusDecimal  = "Decimal"
	FocusDateTime = "Date/Time"
	FocusJSON     = "JSON"
	FocusInteger  = "Integer" // of our own columns alone
)

// FocusColumn is a column of FOCUS's Cost and Usage dataset.
type FocusColumn struct {
	Name     string
	Type     string   // FocusString, …
	Level    string   // FocusMandatory, … in the version that was asked for
	Nullable bool     // whether FOCUS allows NULL
	Values   []string // the allowed values; nil is any
	// Absent says why the column is not there; "" if it is.
	Absent  string
	Comment string
}

// FocusSpec lists every column of a version of FOCUS in the specification's order, those that the views lack included.
// It is nil for a version that isn't known.
func FocusSpec(version string) []FocusColumn {
	var out []FocusColumn
	for _, c := range focusColumns {
		if c := c.in(version); c.Level != "" {
			out = append(out, c)
		}
	}
	return out
}

// FocusColumns lists the columns of a version's view in order: those of FOCUS that are there, then our own.
func FocusColumns(version string) []FocusColumn {
	out := slices.DeleteFunc(FocusSpec(version), func(c FocusColumn) bool { return c.Absent != "" })
	if out == nil {
		return nil
	}
	for _, c := range focusCustom {
		c.Level = FocusCustom
		out = append(out, c.FocusColumn)
	}
	return out
}

// focusColumn is a row of the column tables: how each version asks for the column ("" is not at all), and what it is made of.
type focusColumn struct {
	FocusColumn
	in12, in14 string
	expr       string
	// not12 says why the column is not there in 1.2, of one that is in 1.4.
	not12 string
}

// in is the column as a version has it.
func (c focusColumn) in(version string) FocusColumn {
	out := c.FocusColumn
	out.Level = map[string]string{Focus12: c.in12, Focus14: c.in14}[version]
	if version == Focus12 && c.not12 != "" {
		out.Absent = c.not12
	}
	return out
}

const (
	noCommitments  = "the Portal sells no commitments"
	noRegions      = "the Portal names no regions"
	noResources    = "the Portal bills no provisioned resources"
	noCapacity     = "the Portal sells no capacity reservations"
	oneCurrency    = "prices and charges are in the same currency"
	noSplit        = "the Portal allocates no cost; pools are split in the chargeback, not in billing data"
	oneAccountType = "there is one type of billing account"
	invoiceUnknown = "the Portal's usage records name no line of an invoice"
)

func absent(name, kind string, nullable bool, in12, in14, why string) focusColumn {
	return focusColumn{FocusColumn: FocusColumn{Name: name, Type: kind, Nullable: nullable, Absent: why}, in12: in12, in14: in14}
}

func present(name, kind string, nullable bool, in12, in14, expr, comment string, values ...string) focusColumn {
	return focusColumn{FocusColumn: FocusColumn{Name: name, Type: kind, Nullable: nullable, Values: values, Comment: comment}, in12: in12, in14: in14, expr: expr}
}

// only14 leaves a column out of 1.2.
func only14(c focusColumn, why string) focusColumn {
	c.not12 = why
	return c
}

// contractedUnitPrice is the list price less what the discount comes to for a pricing unit, if that has no more than twelve
// decimals: units of 1e-12 are divided as whole numbers, and only without a remainder.
var contractedUnitPrice = func() string {
	const (
		discount = "(discount::DECIMAL(38,12) * 1000000000000::DECIMAL(13,0))::HUGEINT * CASE price_per WHEN 1000000 THEN 1000000 ELSE 1000000000000 END"
		quantity = "CASE price_per WHEN 1000000 THEN quantity::HUGEINT ELSE (quantity * 1000000000000::DECIMAL(13,0))::HUGEINT END"
		left     = "((price::DECIMAL(38,12) * 1000000000000::DECIMAL(13,0))::HUGEINT - (" + discount + ") // (" + quantity + "))"
	)
	return "CASE WHEN price IS NULL OR discount = 0 THEN price WHEN quantity = 0 OR abs(quantity) >= 10000000000000 OR abs(discount) >= 1000000000 OR (" + discount + ") % (" + quantity + ") <> 0 THEN NULL" +
		" WHEN " + left + " BETWEEN 0 AND 999999999999999999 THEN (" + left + "::DECIMAL(18,0) * 0.000000000001::DECIMAL(13,12))::DECIMAL(18,12) END"
}()

// focusColumns are the columns of both versions in alphabetical order, as the specification lists them.
var focusColumns = []focusColumn{
	absent("AllocatedMethodDetails", FocusJSON, true, "", FocusRecommended, noSplit),
	absent("AllocatedMethodId", FocusString, true, "", FocusConditional, noSplit),
	absent("AllocatedResourceId", FocusString, true, "", FocusConditional, noSplit),
	absent("AllocatedResourceName", FocusString, true, "", FocusConditional, noSplit),
	absent("AllocatedTags", FocusJSON, true, "", FocusConditional, noSplit),
	absent("AvailabilityZone", FocusString, true, FocusRecommended, FocusRecommended, noRegions),
	present("BilledCost", FocusDecimal, false, FocusMandatory, FocusMandatory, "net_cost", "What is charged: the net cost."),
	present("BillingAccountId", FocusString, false, FocusMandatory, FocusMandatory, "account", "Name of the account in the config."),
	present("BillingAccountName", FocusString, true, FocusMandatory, FocusMandatory, "account", "Name of the account in the config."),
	absent("BillingAccountType", FocusString, false, FocusConditional, FocusConditional, oneAccountType),
	present("BillingCurrency", FocusString, false, FocusMandatory, FocusMandatory, "currency", "ISO 4217 code of the costs. Never sum across currencies."),
	present("BillingPeriodEnd", FocusDateTime, false, FocusMandatory, FocusMandatory, "to_timestamp(epoch(billing_month + INTERVAL 1 MONTH))", "End of the month it is charged in, UTC, exclusive."),
	present("BillingPeriodStart", FocusDateTime, false, FocusMandatory, FocusMandatory, "to_timestamp(epoch(billing_month))", "Start of the month it is charged in, UTC, inclusive."),
	absent("CapacityReservationId", FocusString, true, FocusConditional, FocusConditional, noCapacity),
	absent("CapacityReservationStatus", FocusString, true, FocusConditional, FocusConditional, noCapacity),
	present("ChargeCategory", FocusString, false, FocusMandatory, FocusMandatory, "CASE WHEN price IS NOT NULL THEN 'Usage' ELSE 'Adjustment' END",
		"Usage: a meter at its unit price. Adjustment: what unit prices leave of the amounts, such as refunds and rounding, and meters without a unit price.",
		"Usage", "Purchase", "Tax", "Credit", "Adjustment"),
	present("ChargeClass", FocusString, true, FocusMandatory, FocusMandatory, "charge_class", "Correction if the usage lies in a month that was closed before it came or changed; else NULL.", "Correction"),
	present("ChargeDescription", FocusString, true, FocusMandatory, FocusMandatory,
		"CASE WHEN line = 'adjustment' THEN 'Adjustment to the amounts charged' ELSE meter END || coalesce(' for ' || model_name, '') || CASE WHEN price IS NULL AND line <> 'adjustment' THEN ', without a unit price' ELSE '' END",
		"The charge in words."),
	present("ChargeFrequency", FocusString, false, FocusRecommended, FocusRecommended, "'Usage-Based'", "Always Usage-Based.", "One-Time", "Recurring", "Usage-Based"),
	present("ChargePeriodEnd", FocusDateTime, false, FocusMandatory, FocusMandatory, "charge_end", "End of the usage's UTC day, exclusive; of focus_records, of its hour."),
	present("ChargePeriodStart", FocusDateTime, false, FocusMandatory, FocusMandatory, "charge_start", "Start of the usage's UTC day, inclusive; of focus_records, of its hour."),
	absent("CommitmentDiscountCategory", FocusString, true, FocusConditional, FocusConditional, noCommitments),
	absent("CommitmentDiscountId", FocusString, true, FocusConditional, FocusConditional, noCommitments),
	absent("CommitmentDiscountName", FocusString, true, FocusConditional, FocusConditional, noCommitments),
	absent("CommitmentDiscountQuantity", FocusDecimal, true, FocusConditional, FocusConditional, noCommitments),
	absent("CommitmentDiscountStatus", FocusString, true, FocusConditional, FocusConditional, noCommitments),
	absent("CommitmentDiscountType", FocusString, true, FocusConditional, FocusConditional, noCommitments),
	absent("CommitmentDiscountUnit", FocusString, true, FocusConditional, FocusConditional, noCommitments),
	absent("CommitmentProgramEligibilityDetails", FocusJSON, true, "", FocusConditional, noCommitments),
	present("ConsumedQuantity", FocusDecimal, true, FocusConditional, FocusConditional, "CASE WHEN price IS NULL THEN NULL WHEN price_per = 1000000 THEN quantity ELSE (quantity * consumed_per_unit)::DECIMAL(38,12) END", "How much was used, in ConsumedUnit; NULL of an adjustment."),
	present("ConsumedUnit", FocusString, true, FocusConditional, FocusConditional, "CASE WHEN price IS NOT NULL THEN consumed_unit END", "What ConsumedQuantity counts, such as Tokens."),
	absent("ContractApplied", FocusJSON, true, "", FocusConditional, noCommitments),
	present("ContractedCost", FocusDecimal, false, FocusMandatory, FocusMandatory, "net_cost", "The same as BilledCost: the cost after the discount."),
	only14(present("ContractedUnitPrice", FocusDecimal, true, FocusConditional, FocusConditional, contractedUnitPrice,
		"Price of one PricingUnit after the discount, where that is an exact one of twelve decimals; else NULL."),
		"the Portal tells what it took off, but no unit price after it, and 1.2 allows none to be NULL"),
	present("EffectiveCost", FocusDecimal, false, FocusMandatory, FocusMandatory, "net_cost", "The same as BilledCost: nothing is paid ahead."),
	present("HostProviderName", FocusString, true, "", FocusMandatory, SQLString(FocusProvider), "The gateway."),
	absent("InvoiceDetailId", FocusString, true, "", FocusConditional, invoiceUnknown),
	present("InvoiceId", FocusString, true, FocusRecommended, FocusConditional, "invoice_id", "Number of the invoice, once the month is closed and agrees with the only invoice of the account, currency and month; NULL before, and where it doesn't."),
	present("InvoiceIssuerName", FocusString, false, FocusMandatory, FocusMandatory, SQLString(FocusProvider), "The gateway."),
	present("ListCost", FocusDecimal, false, FocusMandatory, FocusMandatory, "list_cost", "Cost before the discount: ListUnitPrice × PricingQuantity, exactly; of an adjustment what these leave of the gross amounts."),
	present("ListUnitPrice", FocusDecimal, true, FocusConditional, FocusConditional, "price", "Price of one PricingUnit before the discount; NULL of an adjustment."),
	present("PricingCategory", FocusString, true, FocusConditional, FocusConditional, "CASE WHEN price IS NOT NULL THEN 'Standard' END", "Standard; NULL of an adjustment.", "Standard", "Dynamic", "Committed", "Other"),
	absent("PricingCurrency", FocusString, false, FocusConditional, FocusConditional, oneCurrency),
	absent("PricingCurrencyContractedUnitPrice", FocusDecimal, true, FocusConditional, FocusConditional, oneCurrency),
	absent("PricingCurrencyEffectiveCost", FocusDecimal, false, FocusConditional, FocusConditional, oneCurrency),
	absent("PricingCurrencyListUnitPrice", FocusDecimal, true, FocusConditional, FocusConditional, oneCurrency),
	present("PricingQuantity", FocusDecimal, true, FocusMandatory, FocusMandatory, "CASE WHEN price IS NULL THEN NULL WHEN price_per = 1000000 THEN (quantity * 0.000001::DECIMAL(7,6))::DECIMAL(38,12) ELSE quantity END", "How much was priced, in PricingUnit; NULL of an adjustment."),
	present("PricingUnit", FocusString, true, FocusMandatory, FocusMandatory, "CASE WHEN price IS NOT NULL THEN pricing_unit END", "What ListUnitPrice is the price of, such as 1000000 Tokens."),
	present("ProviderName", FocusString, false, FocusMandatory, "", SQLString(FocusProvider), "The gateway."),
	present("PublisherName", FocusString, false, FocusMandatory, "", "coalesce(vendor, "+SQLString(FocusProvider)+")", "Vendor of the model, where its name says it (vendor/model); else the gateway."),
	absent("RegionId", FocusString, true, FocusConditional, FocusConditional, noRegions),
	absent("RegionName", FocusString, true, FocusConditional, FocusConditional, noRegions),
	absent("ResourceId", FocusString, true, FocusConditional, FocusConditional, noResources),
	absent("ResourceName", FocusString, true, FocusConditional, FocusConditional, noResources),
	absent("ResourceType", FocusString, true, FocusConditional, FocusConditional, noResources),
	present("ServiceCategory", FocusString, false, FocusMandatory, FocusMandatory, "'AI and Machine Learning'", "Always AI and Machine Learning.",
		"AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools", "Multicloud", "Identity", "Integration", "Internet of Things",
		"Management and Governance", "Media", "Migration", "Mobile", "Networking", "Security", "Storage", "Web", "Other"),
	present("ServiceName", FocusString, false, FocusMandatory, FocusMandatory, SQLString(FocusServiceName), "The service of the gateway."),
	present("ServiceProviderName", FocusString, false, "", FocusMandatory, SQLString(FocusProvider), "The gateway."),
	present("ServiceSubcategory", FocusString, false, FocusRecommended, FocusRecommended, "'Generative AI'", "Always Generative AI."),
	present("SkuId", FocusString, true, FocusConditional, FocusConditional, "sku", "Model and meter: claude-sonnet-4/input."),
	present("SkuMeter", FocusString, true, FocusConditional, FocusConditional, "meter", "What is metered: Input Tokens."),
	present("SkuPriceDetails", FocusJSON, true, FocusConditional, FocusConditional, "CASE WHEN price IS NOT NULL THEN json_merge_patch('{}'::JSON, json_object('x_Model', model_name, 'x_Meter', meter))::VARCHAR END", "Model and meter as a JSON object; NULL of an adjustment."),
	present("SkuPriceId", FocusString, true, FocusConditional, FocusConditional, "CASE WHEN price IS NOT NULL THEN sku || '/' || pricing_unit END", "SkuId and PricingUnit, which tell what the price is of, whatever it is and since when; NULL of an adjustment."),
	present("SubAccountId", FocusString, true, FocusConditional, FocusConditional, "nullif(user_id, '')", "Member of the organisation the token belongs to."),
	present("SubAccountName", FocusString, true, FocusConditional, FocusConditional, "nullif(user_id, '')", "The same as SubAccountId: the Portal tells no names."),
	present("SubAccountType", FocusString, true, FocusConditional, FocusConditional, "CASE WHEN user_id <> '' THEN 'User' END", "User; NULL without a SubAccountId."),
	present("Tags", FocusJSON, true, FocusConditional, FocusConditional,
		"nullif(json_merge_patch(coalesce(tags, '{}')::JSON, json_merge_patch('{}'::JSON, json_object('cost_center', cost_center, 'team', team, 'project', project, 'environment', environment)))::VARCHAR, '{}')",
		"What the allocation rules assigned, a flat JSON object: cost_center, team, project, environment and further tags. NULL if nothing."),
}

func custom(name, kind string, nullable bool, expr, comment string) focusColumn {
	return focusColumn{FocusColumn: FocusColumn{Name: name, Type: kind, Nullable: nullable, Comment: comment}, expr: expr}
}

var focusCustom = []focusColumn{
	custom("x_MissingHours", FocusDecimal, false, "missing_hours", "Hours of the billing period that are over and were not fetched of the account: what was used in them is in no row."),
	custom("x_CredentialId", FocusString, true, "nullif(token_id, '')", "API token the requests were made with."),
	custom("x_ConsumerId", FocusString, true, "nullif(custom_user_id, '')", "What the calling application sent as its own user: free text, not to be trusted."),
	custom("x_Model", FocusString, true, "model_name", "Model that was called."),
	custom("x_ModelVendor", FocusString, true, "vendor", "Vendor of the model, where its name says it (vendor/model)."),
	custom("x_ModelType", FocusString, true, "nullif(model_type, '')", "Kind of model, such as text."),
	custom("x_RecordKind", FocusString, false, "record_kind", "request or summary, as in usage."),
	custom("x_MeterCategory", FocusString, true, "nullif(category, '')", "tokens, adjustment, or the category of a charge beyond the tokens, as the Portal has it."),
	custom("x_MeterItem", FocusString, true, "nullif(item, '')", "Kind of token, or the item of a charge beyond the tokens, as the Portal has it."),
	custom("x_MeterUnit", FocusString, true, "nullif(unit, '')", "Unit as the Portal has it."),
	custom("x_RequestCount", FocusInteger, false, "requests::BIGINT", "Charges that were summed, one a record and meter. A record with several meters counts in several rows."),
	custom("x_UnpricedQuantity", FocusDecimal, true, "CASE WHEN price IS NULL THEN quantity END", "What a meter without a unit price counted, in x_MeterUnit."),
	custom("x_DiscountAmount", FocusDecimal, false, "discount", "The part of the discount. ListCost less it is BilledCost, but for adjustments."),
	custom("x_CostCenter", FocusString, true, "cost_center", "Cost centre; NULL if none was assigned."),
	custom("x_Team", FocusString, true, "team", "Team; NULL if none was assigned."),
	custom("x_Project", FocusString, true, "project", "Project; NULL if none was assigned."),
	custom("x_Environment", FocusString, true, "environment", "Environment; NULL if none was assigned."),
	custom("x_GLCode", FocusString, true, "gl_code", "General ledger code; NULL if none was assigned."),
	custom("x_Pool", FocusString, true, "pool", "Shared pool the cost goes to. It isn't split here; chargeback_daily and shared_cost_shares have who bears it."),
	custom("x_RuleId", FocusString, true, "rule_id", "Allocation rule that matched; NULL if none did."),
	custom("x_RuleVersion", FocusInteger, true, "rule_version", "Its version."),
}

// FocusChargeColumn is a column of focus_closed, and of the views that FOCUS's are made from.
type FocusChargeColumn struct {
	Name    string
	Measure bool   // it is summed; else it tells charges apart
	kind    string // in DuckDB
	comment string
}

// FocusChargeColumns lists those columns but for the first two, billing_month and charge_class.
func FocusChargeColumns() []FocusChargeColumn { return slices.Clone(focusCharges[2:]) }

var focusCharges = []FocusChargeColumn{
	{"billing_month", false, "DATE NOT NULL", "First day of the month it is charged in. Of a correction: the month that was open when it was found."},
	{"charge_class", false, "VARCHAR", "Correction if the usage lies in a month that was closed before it came or changed; else NULL."},
	{"usage_date", false, "DATE NOT NULL", "UTC day of the usage."},
	{"account", false, "VARCHAR NOT NULL", "Name of the account in the config."},
	{"token_id", false, "VARCHAR", "API token the requests were made with."},
	{"user_id", false, "VARCHAR", "Member of the organisation the token belongs to."},
	{"custom_user_id", false, "VARCHAR", "What the calling application sent as its own user: free text, not to be trusted."},
	{"model", false, "VARCHAR", "Model that was called."},
	{"model_type", false, "VARCHAR", "Kind of model, such as text."},
	{"record_kind", false, "VARCHAR NOT NULL", "request or summary, as in usage."},
	{"currency", false, "VARCHAR NOT NULL", "ISO 4217 code of price and costs. Never sum across currencies."},
	{"cost_center", false, "VARCHAR", "Cost centre; NULL if none was assigned."},
	{"team", false, "VARCHAR", "Team; NULL if none was assigned."},
	{"project", false, "VARCHAR", "Project; NULL if none was assigned."},
	{"environment", false, "VARCHAR", "Environment; NULL if none was assigned."},
	{"gl_code", false, "VARCHAR", "General ledger code; NULL if none was assigned."},
	{"tags", false, "VARCHAR", "Further tags, a flat JSON object; NULL if there are none."},
	{"pool", false, "VARCHAR", "Shared pool the cost goes to, not split here; NULL if it goes to the owner."},
	{"rule_id", false, "VARCHAR", "Rule that matched; NULL if none did."},
	{"rule_version", false, "INTEGER", "Its version."},
	{"line", false, "VARCHAR NOT NULL", "input, cached, output: tokens. tokens: those of a summary record. ext: a charge beyond the tokens. adjustment: what these leave of the record's amounts."},
	{"category", false, "VARCHAR", "tokens, adjustment, or the category of an ext charge."},
	{"item", false, "VARCHAR", "Kind of token, or the item of an ext charge."},
	{"unit", false, "VARCHAR", "What quantity counts: token, or the unit of an ext charge."},
	{"price", false, "DECIMAL(18,12)", "Price of price_per units; NULL if there is none that explains a charge."},
	{"price_per", false, "INTEGER", "Units the price is for: 1000000 for tokens, 1 for ext charges."},
	{"requests", true, "BIGINT NOT NULL", "Number of such charges, one a record and meter; of a correction, by how much it changed."},
	{"quantity", true, "DECIMAL(38,12)", "How much was used; NULL of an adjustment."},
	{"list_cost", true, "DECIMAL(38,18) NOT NULL", "quantity × price ÷ price_per, exactly; 0 without a price; of an adjustment, what is left of total_amount."},
	{"discount", true, "DECIMAL(38,18) NOT NULL", "The part of the discount; of an adjustment, what no priced meter bears."},
	{"net_cost", true, "DECIMAL(38,18) NOT NULL", "What is charged; of an adjustment, what is left of amount."},
}

//go:embed sql/focus.sql
var sqlFocus string

// sqlFocusTable makes the table that holds what FOCUS shows of closed months.
func sqlFocusTable() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE focus_closed (\n")
	for i, c := range focusCharges {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "    %s %s", c.Name, c.kind)
	}
	b.WriteString("\n);\nCOMMENT ON TABLE focus_closed IS 'The charges of closed months by day and meter, as they were when the months were closed, and the corrections found since: what FOCUS shows of these months.';\n")
	for _, c := range focusCharges {
		fmt.Fprintf(&b, "COMMENT ON COLUMN focus_closed.%s IS %s;\n", c.Name, SQLString(c.comment))
	}
	return b.String()
}

// SQLFocus makes the views of FOCUS, in place of what they were: focus_lines, focus_live, focus_charges and
// focus_omitted in our own names, focus, focus_1_4, focus_records, focus_billing_period and focus_invoice_detail in those of FOCUS. They need the view
// allocated_usage. It is several statements.
func SQLFocus() string {
	var b strings.Builder
	b.WriteString(commented(sqlFocus))
	for _, v := range FocusVersions() {
		view := FocusView(v)
		fmt.Fprintf(&b, "CREATE OR REPLACE VIEW %s AS %s;\n", view, FocusSelect(v, "focus_charges"))
		fmt.Fprintf(&b, "COMMENT ON VIEW %s IS %s;\n", view, SQLString("The Cost and Usage dataset of FOCUS "+v+", by UTC day. BilledCost sums exactly to amount, per currency, but for the records in focus_omitted."))
		commentFocus(&b, view, FocusColumns(v))
	}
	fmt.Fprintf(&b, "CREATE OR REPLACE VIEW focus_records AS %s;\n", FocusSelectRecords("(FROM focus_lines WHERE NOT closed)"))
	b.WriteString("COMMENT ON VIEW focus_records IS 'The same as focus, but a row per record and meter. Months that are not closed only: a closed one is kept by day.';\n")
	commentFocus(&b, "focus_records", append(FocusColumns(Focus12), FocusRecordColumns()...))
	b.WriteString(sqlFocusDatasets())
	return b.String()
}

func commentFocus(b *strings.Builder, view string, columns []FocusColumn) {
	for _, c := range columns {
		fmt.Fprintf(b, "COMMENT ON COLUMN %s.\"%s\" IS %s;\n", view, c.Name, SQLString(c.Comment))
	}
}

// The grains of FOCUS: what has a row of its own. All but record are by UTC day, account, meter, unit price and currency.
const (
	FocusByRecord = "record" // each record and meter
	FocusByDay    = "day"    // everything that is the same of a day's charges
)

// focusGrain is a grain that charges are summed to.
type focusGrain struct {
	name    string
	without []string // the columns of focus_charges that it leaves out
}

var focusGrains = []focusGrain{
	{FocusByDay, nil},
	{"token", []string{"custom_user_id"}},
	{"user", []string{"custom_user_id", "token_id"}},
	{"project", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version"}},
	{"team", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version", "project"}},
	{"cost_center", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version", "project", "team"}},
	{"environment", []string{"custom_user_id", "token_id", "user_id", "tags", "rule_id", "rule_version", "project", "team", "cost_center", "gl_code", "pool"}},
	{"model", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version", "project", "team", "cost_center", "gl_code", "pool"}},
}

// FocusGrains lists the grains, the finest first.
func FocusGrains() []string {
	out := []string{FocusByRecord}
	for _, g := range focusGrains {
		out = append(out, g.name)
	}
	return out
}

// FocusSum is the query that sums rows of focus_charges to a grain, not FocusByRecord: from is a query of them in parentheses. What the
// grain leaves out is NULL.
func FocusSum(grain, from string) string {
	i := slices.IndexFunc(focusGrains, func(g focusGrain) bool { return g.name == grain })
	columns := make([]string, len(focusCharges))
	for n, c := range focusCharges {
		switch {
		case c.Measure:
			columns[n] = "sum(" + c.Name + ") AS " + c.Name
		case slices.Contains(focusGrains[i].without, c.Name):
			kind, _, _ := strings.Cut(c.kind, " ")
			columns[n] = "NULL::" + kind + " AS " + c.Name
		default:
			columns[n] = c.Name
		}
	}
	return "(SELECT " + strings.Join(columns, ", ") + " FROM " + from + " GROUP BY ALL)"
}

// FocusRecordColumns are the columns that rows by record have besides.
func FocusRecordColumns() []FocusColumn {
	return []FocusColumn{
		{Name: "x_RequestId", Type: FocusString, Level: FocusCustom, Comment: "Id of the record in usage; several records may have one."},
		{Name: "x_RequestTime", Type: FocusDateTime, Level: FocusCustom, Comment: "When the request was made, UTC."},
		{Name: "x_RequestOrdinal", Type: FocusInteger, Level: FocusCustom, Comment: "Ordinal of the record in usage: with BillingAccountId, x_RequestTime and x_RequestId it names a record."},
	}
}

// FocusSelect is the query that gives the columns of a version of FOCUS from rows of the view focus_charges: from names
// the view, or is a query of it in parentheses.
func FocusSelect(version, from string) string {
	return focusSelect(version, from, "to_timestamp(epoch(usage_date))", 86400, "")
}

// FocusSelectRecords is the query that gives the columns of FOCUS 1.2 for each record and meter, from rows of focus_lines: from names a
// query of it in parentheses.
func FocusSelectRecords(from string) string {
	records := "(SELECT usage_month AS billing_month, NULL::VARCHAR AS charge_class, *, 1 AS requests FROM " + from + ")"
	return focusSelect(Focus12, records, "to_timestamp(floor(epoch(request_time) / 3600) * 3600)", 3600, `, id AS "x_RequestId", request_time AS "x_RequestTime", ordinal AS "x_RequestOrdinal"`)
}

// focusSelect takes besides when a charge begins, a TIMESTAMPTZ that doesn't depend on the session's time zone, and how
// many seconds it is long.
func focusSelect(version, from, start string, seconds int, more string) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	i := 0
	for _, c := range append(slices.Clone(focusColumns), focusCustom...) {
		own := c.in12 == "" && c.in14 == ""
		if in := c.in(version); in.Absent != "" || !own && in.Level == "" {
			continue
		}
		if i++; i > 1 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `%s AS "%s"`, c.expr, c.Name)
	}
	fmt.Fprintf(&b, `%s FROM (
		SELECT *, charge_start + INTERVAL %d SECOND AS charge_end, CASE WHEN model_name LIKE '_%%/%%' THEN split_part(model_name, '/', 1) END AS vendor,
			CASE line WHEN 'adjustment' THEN NULL ELSE concat_ws('/', model_name, CASE line WHEN 'ext' THEN coalesce(nullif(concat_ws('/', nullif(category, ''), nullif(item, '')), ''), 'ext') ELSE line END) END AS sku,
			CASE line WHEN 'adjustment' THEN NULL WHEN 'input' THEN 'Input Tokens' WHEN 'cached' THEN 'Cached Input Tokens' WHEN 'output' THEN 'Output Tokens' WHEN 'tokens' THEN 'Tokens'
				ELSE coalesce(nullif(array_to_string(list_transform(list_filter(string_split(translate(concat_ws(' ', category, item), '_-', '  '), ' '), lambda w: w <> ''), lambda w: upper(w[1]) || w[2:]), ' '), ''), 'Other') END AS meter,
			CASE scale WHEN 6 THEN 1000000 WHEN 3 THEN 1000 ELSE 1 END AS consumed_per_unit,
			CASE scale WHEN 6 THEN '1000000 ' WHEN 3 THEN '1000 ' ELSE '' END || consumed_unit AS pricing_unit
		FROM (
			SELECT *, nullif(model, '') AS model_name, %s AS charge_start, %s,
				coalesce((SELECT (m.missing_seconds / 3600)::DECIMAL(18,12) FROM completeness_monthly m WHERE m."month" = f.billing_month AND m.account = f.account), 0)::DECIMAL(18,12) AS missing_hours,
				(SELECT i.invoice FROM focus_invoices i WHERE i.billing_month = f.billing_month AND i.account = f.account AND i.currency = f.currency) AS invoice_id
			FROM %s f
		)
	)`, more, seconds, start, focusUnits, from)
	return b.String()
}

// focusUnits reads a unit of the Portal, which is free text, as one of FOCUS: a plural noun with a capital, and the power
// of ten that one unit has of it. What it doesn't know is Units; x_MeterUnit keeps the Portal's word.
const focusUnits = `CASE
		WHEN price_per = 1000000 OR regexp_full_match(unit, '\s*(1?\s*m(illion)?|1000000|1?\s*k|1000|)\s*tokens?\s*', 'i') THEN 'Tokens'
		WHEN regexp_full_match(unit, '\s*(requests?|calls?)\s*', 'i') THEN 'Requests'
		WHEN regexp_full_match(unit, '\s*images?\s*', 'i') THEN 'Images'
		WHEN regexp_full_match(unit, '\s*pages?\s*', 'i') THEN 'Pages'
		WHEN regexp_full_match(unit, '\s*(characters?|chars?)\s*', 'i') THEN 'Characters'
		WHEN regexp_full_match(unit, '\s*(seconds?|secs?|s)\s*', 'i') THEN 'Seconds'
		WHEN regexp_full_match(unit, '\s*(minutes?|mins?)\s*', 'i') THEN 'Minutes'
		WHEN regexp_full_match(unit, '\s*(hours?|h)\s*', 'i') THEN 'Hours'
		ELSE 'Units' END AS consumed_unit,
	CASE
		WHEN price_per = 1000000 OR regexp_full_match(unit, '\s*(1?\s*m(illion)?|1000000)\s*tokens?\s*', 'i') THEN 6
		WHEN regexp_full_match(unit, '\s*(1?\s*k|1000)\s*tokens?\s*', 'i') THEN 3
		ELSE 0 END AS scale`
