package schemas

import (
	"cmp"
	"slices"
)

// focusColumn is a row of the tables of columns, which drive every version: how each asks for the column, and what it
// is made of.
type focusColumn struct {
	name, kind    string
	nullable      bool // whether FOCUS allows NULL
	asked         asked
	expr, comment string   // what it is made of, in the names of the rows that a query of FOCUS is over; what it means
	values        []string // those allowed; nil is any
	absent        string   // why the column is not there; "" if it is
	absent12      string   // why it is not there in 1.2, of one that is in 1.4
}

// asked is how the versions ask for a column: FocusMandatory, …; "" is not at all.
type asked struct{ in12, in14 string }

func both(level string) asked   { return asked{level, level} }
func to12(level string) asked   { return asked{level, ""} }
func from14(level string) asked { return asked{"", level} }

// in is the column as a version has it.
func (c focusColumn) in(version string) FocusColumn {
	out := FocusColumn{
		Name: c.name, Type: c.kind, Nullable: c.nullable, Values: c.values, Absent: c.absent, Comment: c.comment,
	}
	switch version {
	case Focus12:
		out.Level, out.Absent = c.asked.in12, cmp.Or(c.absent, c.absent12)
	case Focus14:
		out.Level = c.asked.in14
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

// contractedUnitPrice is the list price less what the discount comes to for a pricing unit, if that has no more than
// twelve decimals: units of 1e-12 are divided as whole numbers, and only without a remainder.
var contractedUnitPrice = func() string {
	const (
		discount = "(discount::DECIMAL(38,12) * 1000000000000::DECIMAL(13,0))::HUGEINT" +
			" * CASE price_per WHEN 1000000 THEN 1000000 ELSE 1000000000000 END"
		quantity = "CASE price_per WHEN 1000000 THEN quantity::HUGEINT" +
			" ELSE (quantity * 1000000000000::DECIMAL(13,0))::HUGEINT END"
		left = "((price::DECIMAL(38,12) * 1000000000000::DECIMAL(13,0))::HUGEINT - (" + discount + ") // (" + quantity + "))"
	)
	return "CASE WHEN price IS NULL OR discount = 0 THEN price" +
		" WHEN quantity = 0 OR abs(quantity) >= 10000000000000 OR abs(discount) >= 1000000000" +
		" OR (" + discount + ") % (" + quantity + ") <> 0 THEN NULL" +
		" WHEN " + left + " BETWEEN 0 AND 999999999999999999" +
		" THEN (" + left + "::DECIMAL(18,0) * 0.000000000001::DECIMAL(13,12))::DECIMAL(18,12) END"
}()

// focusColumns are the columns of both versions in alphabetical order, as the specification lists them.
var focusColumns = []focusColumn{
	{name: "AllocatedMethodDetails", kind: FocusJSON, nullable: true, asked: from14(FocusRecommended), absent: noSplit},
	{name: "AllocatedMethodId", kind: FocusString, nullable: true, asked: from14(FocusConditional), absent: noSplit},
	{name: "AllocatedResourceId", kind: FocusString, nullable: true, asked: from14(FocusConditional), absent: noSplit},
	{name: "AllocatedResourceName", kind: FocusString, nullable: true, asked: from14(FocusConditional), absent: noSplit},
	{name: "AllocatedTags", kind: FocusJSON, nullable: true, asked: from14(FocusConditional), absent: noSplit},
	{name: "AvailabilityZone", kind: FocusString, nullable: true, asked: both(FocusRecommended), absent: noRegions},
	{name: "BilledCost", kind: FocusDecimal, asked: both(FocusMandatory),
		expr: "CASE WHEN prepaid AND line <> 'purchase' THEN 0::DECIMAL(38,18) ELSE net_cost END",
		comment: "What is charged: the net cost. Of a prepaid account a Purchase's amount, and 0 of all else, for what it " +
			"uses was paid ahead."},
	{name: "BillingAccountId", kind: FocusString, asked: both(FocusMandatory), expr: "account",
		comment: "Name of the account in the config."},
	{name: "BillingAccountName", kind: FocusString, nullable: true, asked: both(FocusMandatory), expr: "account",
		comment: "Name of the account in the config."},
	{name: "BillingAccountType", kind: FocusString, asked: both(FocusConditional), absent: oneAccountType},
	{name: "BillingCurrency", kind: FocusString, asked: both(FocusMandatory), expr: "currency",
		comment: "ISO 4217 code of the costs. Never sum across currencies."},
	{name: "BillingPeriodEnd", kind: FocusDateTime, asked: both(FocusMandatory),
		expr:    "period_ends(billing_month)",
		comment: "End of the period of the books that it is charged in, UTC, exclusive."},
	{name: "BillingPeriodStart", kind: FocusDateTime, asked: both(FocusMandatory),
		expr:    "period_starts(billing_month)",
		comment: "Start of the period of the books that it is charged in, UTC, inclusive."},
	{name: "CapacityReservationId", kind: FocusString, nullable: true, asked: both(FocusConditional), absent: noCapacity},
	{name: "CapacityReservationStatus", kind: FocusString, nullable: true, asked: both(FocusConditional),
		absent: noCapacity},
	{name: "ChargeCategory", kind: FocusString, asked: both(FocusMandatory),
		expr: "CASE WHEN line = 'purchase' THEN 'Purchase' WHEN line = 'credit' THEN 'Credit' " +
			"WHEN price IS NOT NULL THEN 'Usage' ELSE 'Adjustment' END",
		comment: "Usage: a meter at its unit price. Adjustment: what unit prices leave of the amounts, such as refunds and " +
			"rounding, and meters without a unit price. Of a prepaid account also Purchase: what was paid ahead; and Credit: " +
			"a coupon, or what the vendor made good.",
		values: []string{"Usage", "Purchase", "Tax", "Credit", "Adjustment"}},
	{name: "ChargeClass", kind: FocusString, nullable: true, asked: both(FocusMandatory), expr: "charge_class",
		comment: "Correction if the usage lies in a month that was closed before it came or changed; else NULL.",
		values:  []string{"Correction"}},
	{name: "ChargeDescription", kind: FocusString, nullable: true, asked: both(FocusMandatory),
		expr: `CASE line WHEN 'adjustment' THEN 'Adjustment to the amounts charged'
				WHEN 'purchase' THEN concat_ws(' ', 'Prepaid credit', item) WHEN 'credit' THEN concat_ws(' ', 'Credit', item)
				ELSE meter END
			|| coalesce(' for ' || model_name, '')
			|| CASE WHEN price IS NULL AND line NOT IN ('adjustment', 'credit') THEN ', without a unit price' ELSE '' END`,
		comment: "The charge in words."},
	{name: "ChargeFrequency", kind: FocusString, asked: both(FocusRecommended),
		expr:    "CASE WHEN line IN ('purchase', 'credit') THEN 'One-Time' ELSE 'Usage-Based' END",
		comment: "Usage-Based; One-Time of what was paid ahead and of credits.",
		values:  []string{"One-Time", "Recurring", "Usage-Based"}},
	{name: "ChargePeriodEnd", kind: FocusDateTime, asked: both(FocusMandatory), expr: "charge_end",
		comment: "End of the usage's UTC day, exclusive, or of the part of it that the period of the books has; of " +
			"focus_records, of its hour."},
	{name: "ChargePeriodStart", kind: FocusDateTime, asked: both(FocusMandatory), expr: "charge_start",
		comment: "Start of the usage's UTC day, inclusive, or of the part of it that the period of the books has; of " +
			"focus_records, of its hour."},
	{name: "CommitmentDiscountCategory", kind: FocusString, nullable: true, asked: both(FocusConditional),
		absent: noCommitments},
	{name: "CommitmentDiscountId", kind: FocusString, nullable: true, asked: both(FocusConditional),
		absent: noCommitments},
	{name: "CommitmentDiscountName", kind: FocusString, nullable: true, asked: both(FocusConditional),
		absent: noCommitments},
	{name: "CommitmentDiscountQuantity", kind: FocusDecimal, nullable: true, asked: both(FocusConditional),
		absent: noCommitments},
	{name: "CommitmentDiscountStatus", kind: FocusString, nullable: true, asked: both(FocusConditional),
		absent: noCommitments},
	{name: "CommitmentDiscountType", kind: FocusString, nullable: true, asked: both(FocusConditional),
		absent: noCommitments},
	{name: "CommitmentDiscountUnit", kind: FocusString, nullable: true, asked: both(FocusConditional),
		absent: noCommitments},
	{name: "CommitmentProgramEligibilityDetails", kind: FocusJSON, nullable: true, asked: from14(FocusConditional),
		absent: noCommitments},
	{name: "ConsumedQuantity", kind: FocusDecimal, nullable: true, asked: both(FocusConditional),
		expr: `CASE WHEN price IS NULL OR line = 'purchase' THEN NULL WHEN price_per = 1000000 THEN quantity
			ELSE (quantity * consumed_per_unit)::DECIMAL(38,12) END`,
		comment: "How much was used, in ConsumedUnit; NULL of an adjustment, and of what was paid ahead."},
	{name: "ConsumedUnit", kind: FocusString, nullable: true, asked: both(FocusConditional),
		expr:    "CASE WHEN price IS NOT NULL AND line <> 'purchase' THEN consumed_unit END",
		comment: "What ConsumedQuantity counts, such as Tokens."},
	{name: "ContractApplied", kind: FocusJSON, nullable: true, asked: from14(FocusConditional), absent: noCommitments},
	{name: "ContractedCost", kind: FocusDecimal, asked: both(FocusMandatory), expr: "net_cost",
		comment: "The cost after the discount, whether it is billed or draws on what was paid ahead."},
	{name: "ContractedUnitPrice", kind: FocusDecimal, nullable: true, asked: both(FocusConditional),
		expr:     contractedUnitPrice,
		comment:  "Price of one PricingUnit after the discount, where that is an exact one of twelve decimals; else NULL.",
		absent12: "the Portal tells what it took off, but no unit price after it, and 1.2 allows none to be NULL"},
	{name: "EffectiveCost", kind: FocusDecimal, asked: both(FocusMandatory),
		expr: "CASE WHEN line = 'purchase' THEN 0::DECIMAL(38,18) ELSE net_cost END",
		comment: "What was used costs: the net cost; 0 of what was paid ahead, whose cost is that of what draws on it. The " +
			"same as BilledCost of a postpaid account."},
	{name: "HostProviderName", kind: FocusString, nullable: true, asked: from14(FocusMandatory),
		expr: SQLString(FocusProvider), comment: "The gateway."},
	{name: "InvoiceDetailId", kind: FocusString, nullable: true, asked: from14(FocusConditional), absent: invoiceUnknown},
	{name: "InvoiceId", kind: FocusString, nullable: true, asked: asked{FocusRecommended, FocusConditional},
		expr: "invoice_id",
		comment: "Number of the invoice, once the month is closed and agrees with the only invoice of the account, " +
			"currency and month; NULL before, and where it doesn't."},
	{name: "InvoiceIssuerName", kind: FocusString, asked: both(FocusMandatory), expr: SQLString(FocusProvider),
		comment: "The gateway."},
	{name: "ListCost", kind: FocusDecimal, asked: both(FocusMandatory), expr: "list_cost",
		comment: "Cost before the discount: ListUnitPrice × PricingQuantity, exactly; of an adjustment what these leave of " +
			"the gross amounts."},
	{name: "ListUnitPrice", kind: FocusDecimal, nullable: true, asked: both(FocusConditional), expr: "price",
		comment: "Price of one PricingUnit before the discount; NULL of an adjustment."},
	{name: "PricingCategory", kind: FocusString, nullable: true, asked: both(FocusConditional),
		expr: "CASE WHEN price IS NOT NULL THEN 'Standard' END", comment: "Standard; NULL of an adjustment.",
		values: []string{"Standard", "Dynamic", "Committed", "Other"}},
	{name: "PricingCurrency", kind: FocusString, asked: both(FocusConditional), absent: oneCurrency},
	{name: "PricingCurrencyContractedUnitPrice", kind: FocusDecimal, nullable: true, asked: both(FocusConditional),
		absent: oneCurrency},
	{name: "PricingCurrencyEffectiveCost", kind: FocusDecimal, asked: both(FocusConditional), absent: oneCurrency},
	{name: "PricingCurrencyListUnitPrice", kind: FocusDecimal, nullable: true, asked: both(FocusConditional),
		absent: oneCurrency},
	{name: "PricingQuantity", kind: FocusDecimal, nullable: true, asked: both(FocusMandatory),
		expr: `CASE WHEN price IS NULL THEN NULL WHEN price_per = 1000000
			THEN (quantity * 0.000001::DECIMAL(7,6))::DECIMAL(38,12) ELSE quantity END`,
		comment: "How much was priced, in PricingUnit; NULL of an adjustment."},
	{name: "PricingUnit", kind: FocusString, nullable: true, asked: both(FocusMandatory),
		expr:    "CASE WHEN price IS NOT NULL THEN pricing_unit END",
		comment: "What ListUnitPrice is the price of, such as 1000000 Tokens."},
	{name: "ProviderName", kind: FocusString, asked: to12(FocusMandatory), expr: SQLString(FocusProvider),
		comment: "The gateway."},
	{name: "PublisherName", kind: FocusString, asked: to12(FocusMandatory),
		expr:    "coalesce(vendor, " + SQLString(FocusProvider) + ")",
		comment: "Vendor of the model, where its name says it (vendor/model); else the gateway."},
	{name: "RegionId", kind: FocusString, nullable: true, asked: both(FocusConditional), absent: noRegions},
	{name: "RegionName", kind: FocusString, nullable: true, asked: both(FocusConditional), absent: noRegions},
	{name: "ResourceId", kind: FocusString, nullable: true, asked: both(FocusConditional), absent: noResources},
	{name: "ResourceName", kind: FocusString, nullable: true, asked: both(FocusConditional), absent: noResources},
	{name: "ResourceType", kind: FocusString, nullable: true, asked: both(FocusConditional), absent: noResources},
	{name: "ServiceCategory", kind: FocusString, asked: both(FocusMandatory), expr: "'AI and Machine Learning'",
		comment: "Always AI and Machine Learning.",
		values: []string{
			"AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools",
			"Multicloud", "Identity", "Integration", "Internet of Things", "Management and Governance", "Media", "Migration",
			"Mobile", "Networking", "Security", "Storage", "Web", "Other",
		}},
	{name: "ServiceName", kind: FocusString, asked: both(FocusMandatory), expr: SQLString(FocusServiceName),
		comment: "The service of the gateway."},
	{name: "ServiceProviderName", kind: FocusString, asked: from14(FocusMandatory), expr: SQLString(FocusProvider),
		comment: "The gateway."},
	{name: "ServiceSubcategory", kind: FocusString, asked: both(FocusRecommended), expr: "'Generative AI'",
		comment: "Always Generative AI."},
	{name: "SkuId", kind: FocusString, nullable: true, asked: both(FocusConditional), expr: "sku",
		comment: "Model and meter: claude-sonnet-4/input."},
	{name: "SkuMeter", kind: FocusString, nullable: true, asked: both(FocusConditional), expr: "meter",
		comment: "What is metered: Input Tokens."},
	{name: "SkuPriceDetails", kind: FocusJSON, nullable: true, asked: both(FocusConditional),
		expr: `CASE WHEN price IS NOT NULL
			THEN json_merge_patch('{}'::JSON, json_object('x_Model', model_name, 'x_Meter', meter))::VARCHAR END`,
		comment: "Model and meter as a JSON object; NULL of an adjustment."},
	{name: "SkuPriceId", kind: FocusString, nullable: true, asked: both(FocusConditional),
		expr: "CASE WHEN price IS NOT NULL THEN sku || '/' || pricing_unit END",
		comment: "SkuId and PricingUnit, which tell what the price is of, whatever it is and since when; NULL of an " +
			"adjustment."},
	{name: "SubAccountId", kind: FocusString, nullable: true, asked: both(FocusConditional), expr: "nullif(user_id, '')",
		comment: "Member of the organisation the token belongs to."},
	{name: "SubAccountName", kind: FocusString, nullable: true, asked: both(FocusConditional),
		expr: "nullif(user_id, '')", comment: "The same as SubAccountId: the Portal tells no names."},
	{name: "SubAccountType", kind: FocusString, nullable: true, asked: both(FocusConditional),
		expr: "CASE WHEN user_id <> '' THEN 'User' END", comment: "User; NULL without a SubAccountId."},
	{name: "Tags", kind: FocusJSON, nullable: true, asked: both(FocusConditional),
		expr: `nullif(json_merge_patch(coalesce(tags, '{}')::JSON, json_merge_patch('{}'::JSON, json_object(
			'cost_center', cost_center, 'team', team, 'project', project, 'environment', environment)))::VARCHAR, '{}')`,
		comment: "What the allocation rules assigned, a flat JSON object: cost_center, team, project, environment and " +
			"further tags. NULL if nothing."},
}

// focusCustom are our own columns, which follow those of FOCUS in every version.
var focusCustom = []focusColumn{
	{name: "x_MissingHours", kind: FocusDecimal, asked: both(FocusCustom), expr: "missing_hours",
		comment: "Hours of the billing period that are over and were not fetched of the account: what was used in them is " +
			"in no row."},
	{name: "x_CredentialId", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "nullif(token_id, '')",
		comment: "API token the requests were made with."},
	{name: "x_ConsumerId", kind: FocusString, nullable: true, asked: both(FocusCustom),
		expr:    "nullif(custom_user_id, '')",
		comment: "What the calling application sent as its own user: free text, not to be trusted."},
	{name: "x_Model", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "model_name",
		comment: "Model that was called."},
	{name: "x_ModelVendor", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "vendor",
		comment: "Vendor of the model, where its name says it (vendor/model)."},
	{name: "x_ModelType", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "nullif(model_type, '')",
		comment: "Kind of model, such as text."},
	{name: "x_RecordKind", kind: FocusString, asked: both(FocusCustom), expr: "record_kind",
		comment: "request or summary, as in usage; top_up of what a prepaid account was topped up with."},
	{name: "x_MeterCategory", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "nullif(category, '')",
		comment: "tokens, adjustment, or the category of a charge beyond the tokens, as the Portal has it."},
	{name: "x_MeterItem", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "nullif(item, '')",
		comment: "Kind of token, or the item of a charge beyond the tokens, as the Portal has it."},
	{name: "x_MeterUnit", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "nullif(unit, '')",
		comment: "Unit as the Portal has it."},
	{name: "x_RequestCount", kind: FocusInteger, asked: both(FocusCustom), expr: "requests::BIGINT",
		comment: "Charges that were summed, one a record and meter. A record with several meters counts in several rows."},
	{name: "x_UnpricedQuantity", kind: FocusDecimal, nullable: true, asked: both(FocusCustom),
		expr:    "CASE WHEN price IS NULL THEN quantity END",
		comment: "What a meter without a unit price counted, in x_MeterUnit."},
	{name: "x_DiscountAmount", kind: FocusDecimal, asked: both(FocusCustom), expr: "discount",
		comment: "The part of the discount; the whole of a credit. ListCost less it is ContractedCost, but for adjustments."},
	{name: "x_CostCenter", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "cost_center",
		comment: "Cost centre; NULL if none was assigned."},
	{name: "x_Team", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "team",
		comment: "Team; NULL if none was assigned."},
	{name: "x_Project", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "project",
		comment: "Project; NULL if none was assigned."},
	{name: "x_Environment", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "environment",
		comment: "Environment; NULL if none was assigned."},
	{name: "x_GLCode", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "gl_code",
		comment: "General ledger code; NULL if none was assigned."},
	{name: "x_Pool", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "pool",
		comment: "Shared pool the cost goes to. It isn't split here; chargeback_daily and shared_cost_shares have who " +
			"bears it."},
	{name: "x_RuleId", kind: FocusString, nullable: true, asked: both(FocusCustom), expr: "rule_id",
		comment: "Allocation rule that matched; NULL if none did."},
	{name: "x_RuleVersion", kind: FocusInteger, nullable: true, asked: both(FocusCustom), expr: "rule_version",
		comment: "Its version."},
}

// FocusRecordColumns are the columns that rows by record have besides.
func FocusRecordColumns() []FocusColumn {
	return []FocusColumn{
		{Name: "x_RequestId", Type: FocusString, Level: FocusCustom,
			Comment: "Id of the record in usage; several records may have one."},
		{Name: "x_RequestTime", Type: FocusDateTime, Level: FocusCustom, Comment: "When the request was made, UTC."},
		{Name: "x_RequestOrdinal", Type: FocusInteger, Level: FocusCustom,
			Comment: "Ordinal of the record in usage: with BillingAccountId, x_RequestTime and x_RequestId it names a record."},
	}
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
	{"billing_month", false, "DATE NOT NULL",
		"First day of the month it is charged in. Of a correction: the month that was open when it was found."},
	{"charge_class", false, "VARCHAR",
		"Correction if the usage lies in a month that was closed before it came or changed; else NULL."},
	{"usage_month", false, "DATE NOT NULL", "Period of the books that the usage lies in, as periods calls it."},
	{"usage_date", false, "DATE NOT NULL", "UTC day of the usage."},
	{"account", false, "VARCHAR NOT NULL", "Name of the account in the config."},
	{"token_id", false, "VARCHAR", "API token the requests were made with."},
	{"user_id", false, "VARCHAR", "Member of the organisation the token belongs to."},
	{"custom_user_id", false, "VARCHAR",
		"What the calling application sent as its own user: free text, not to be trusted."},
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
	{"line", false, "VARCHAR NOT NULL",
		"input, cached, output: tokens. tokens: those of a summary record. ext: a charge beyond the tokens. " +
			"adjustment: what these leave of the record's amounts. Of focus_prepaid: purchase, paid ahead; credit, given."},
	{"category", false, "VARCHAR", "tokens, adjustment, or the category of an ext charge; the kind of a top-up."},
	{"item", false, "VARCHAR", "Kind of token, or the item of an ext charge."},
	{"unit", false, "VARCHAR", "What quantity counts: token, or the unit of an ext charge."},
	{"price", false, "DECIMAL(18,12)", "Price of price_per units; NULL if there is none that explains a charge."},
	{"price_per", false, "INTEGER", "Units the price is for: 1000000 for tokens, 1 for ext charges."},
	{"requests", true, "BIGINT NOT NULL",
		"Number of such charges, one a record and meter; of a correction, by how much it changed."},
	{"quantity", true, "DECIMAL(38,12)", "How much was used; NULL of an adjustment."},
	{"list_cost", true, "DECIMAL(38,18) NOT NULL",
		"quantity × price ÷ price_per, exactly; 0 without a price; of an adjustment, what is left of total_amount."},
	{"discount", true, "DECIMAL(38,18) NOT NULL",
		"The part of the discount; of an adjustment, what no priced meter bears."},
	{"net_cost", true, "DECIMAL(38,18) NOT NULL", "What is charged; of an adjustment, what is left of amount."},
}
