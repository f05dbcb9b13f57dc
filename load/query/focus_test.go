package query

import (
	"bytes"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// oddUsageSQL is usageSQL with more of what is allowed: prices that change, of no decimals and of twelve, none and nil;
// tokens that are nil, negative and beyond any price; ext charges in all sorts of units and with too many decimals;
// models with a vendor, without a name; refunds; other currencies, none, and one that is no code; text that is empty or
// a formula.
func oddUsageSQL(p schemas.Partition, n int, seed int64) string {
	r := func(k, m int) string { return fmt.Sprintf("(hash(id, %d, %d) %% %d)::BIGINT", seed, k, m) }
	// Every tenth record has three meters of the same cost, so that the remainders of its discount are equal.
	return fmt.Sprintf(`SELECT * REPLACE (
		CASE WHEN %[10]s = 0 THEN 1000 ELSE input_tokens END AS input_tokens,
		CASE WHEN %[10]s = 0 THEN 1000 ELSE output_tokens END AS output_tokens,
		CASE WHEN %[10]s = 0 THEN 1000 ELSE cached_tokens END AS cached_tokens,
		CASE WHEN %[10]s = 0 THEN 3 ELSE input_price END::DECIMAL(18,12) AS input_price,
		CASE WHEN %[10]s = 0 THEN 3 ELSE output_price END::DECIMAL(18,12) AS output_price,
		CASE WHEN %[10]s = 0 THEN 3 ELSE cached_price END::DECIMAL(18,12) AS cached_price
	) FROM (SELECT * REPLACE (
		CASE %[1]s WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'vendor-a/' || model ELSE model END AS model,
		CASE %[2]s WHEN 0 THEN NULL WHEN 1 THEN 'usd' WHEN 2 THEN 'EUR' ELSE 'USD' END AS currency,
		CASE %[3]s WHEN 0 THEN '=1+1' WHEN 1 THEN 'müller, "x"' ELSE custom_user_id END AS custom_user_id,
		CASE %[4]s WHEN 0 THEN '' ELSE user_id END AS user_id,
		CASE %[5]s WHEN 0 THEN 0 WHEN 1 THEN -12 WHEN 2 THEN 9000000000000000000 ELSE input_tokens END AS input_tokens,
		CASE %[6]s WHEN 0 THEN 0 WHEN 1 THEN 999999.999999999999 WHEN 2 THEN -1
		ELSE output_price END::DECIMAL(18,12) AS output_price,
		CASE %[7]s WHEN 0 THEN NULL ELSE total_amount END AS total_amount,
		CASE %[8]s WHEN 0 THEN -0.000000000007 WHEN 1 THEN 0.000000000005 WHEN 2 THEN 0.1
		ELSE discount_amount END::DECIMAL(18,12) AS discount_amount,
		CASE %[9]s WHEN 0 THEN [
				{category: 'input_v2', item: 'image', unit: 'mtoken', price: 2, "usage": 0.00108, amount: NULL},
				{category: 'input_v2', item: 'audio', unit: 'M tokens', price: 6.123456789012, "usage": 0.000003, amount: 9},
				{category: 'a-b', item: NULL, unit: 'k tokens', price: 0.5, "usage": 12.25, amount: NULL},
				{category: 'tools', item: '', unit: 'furlong', price: 0.123456789012, "usage": 0.333333333333, amount: 0.041},
				{category: '', item: NULL, unit: NULL, price: 0, "usage": 1, amount: 0},
				{category: 'tools', item: 'search', unit: 'each', price: NULL, "usage": 4, amount: 0.04},
				{category: 'tools', item: 'search', unit: 'each', price: 0.01, "usage": 0, amount: 0},
				{category: 'tie', item: 'a', unit: 'each', price: 3, "usage": 3, amount: NULL},
				{category: 'tie', item: 'b', unit: 'images', price: 3, "usage": 3, amount: NULL},
				{category: 'tie', item: 'c', unit: 'calls', price: 3, "usage": 3, amount: NULL},
				{category: 'output', item: 'video', unit: 'second', price: 999999.9, "usage": 999999.9, amount: NULL}]
				ELSE ext_items
			END::STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), "usage" DECIMAL(18,12),
			amount DECIMAL(18,12))[] AS ext_items
	) FROM (%[11]s))`, r(1, 20), r(2, 25), r(3, 12), r(4, 12), r(5, 15), r(6, 18), r(7, 30), r(8, 6), r(9, 12), r(10, 10),
		loadtest.UsageSQL(p, n, seed))
}

// focusLake has odd usage of two accounts in three months. The first is closed, and some of its days came or changed
// since.
func focusLake(t *testing.T) (w *publishtest.Writer, before []string) {
	t.Helper()
	w = publishtest.New(t, load.Options{})
	write := func(account, date string, n int, seed int64) {
		p := schemas.Partition{Account: account, Date: schemastest.Date(date)}
		w.DayFrom(p, oddUsageSQL(p, n, seed), fmt.Sprint(p, n, seed), nil)
	}
	for i, date := range []string{"2026-08-31", "2026-09-01", "2026-09-17", "2026-09-30", "2026-10-01", "2026-10-20",
		"2026-11-02"} {
		write("acme", date, 250+i, int64(i))
		write("zeta-2", date, 60+i, int64(10+i))
	}
	f := testFinance
	f.Archived = publishtest.Archived(f.Rules)
	w.Publish(publish.PublishOptions{Finance: f})
	for _, month := range []string{"2026-08", "2026-09"} {
		before = append(before,
			w.Ask("SELECT * FROM focus WHERE BillingPeriodStart = '"+month+"-01 00:00:00+00' ORDER BY ALL")...)
	}
	if _, err := w.CloseMonth("2026-08", f); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CloseMonth("2026-09", f); err != nil {
		t.Fatal(err)
	}
	write("acme", "2026-09-17", 240, 99) // changed
	write("acme", "2026-09-05", 30, 98)  // came late
	w.Publish(publish.PublishOptions{Finance: f})
	return w, before
}

// The specification's own lists, so that the column tables are held against something else than themselves.
var (
	focusMandatory = map[string]string{
		schemas.Focus12: "BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd " +
			"BillingPeriodStart ChargeCategory ChargeClass ChargeDescription ChargePeriodEnd ChargePeriodStart ContractedCost " +
			"EffectiveCost InvoiceIssuerName ListCost PricingQuantity PricingUnit ProviderName PublisherName ServiceCategory " +
			"ServiceName",
		schemas.Focus14: "BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd " +
			"BillingPeriodStart ChargeCategory ChargeClass ChargeDescription ChargePeriodEnd ChargePeriodStart ContractedCost " +
			"EffectiveCost HostProviderName InvoiceIssuerName ListCost PricingQuantity PricingUnit ServiceCategory " +
			"ServiceName ServiceProviderName",
	}
	focusNeverNull = map[string]string{
		schemas.Focus12: "BilledCost BillingAccountId BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory " +
			"ChargeFrequency ChargePeriodEnd ChargePeriodStart ContractedCost EffectiveCost InvoiceIssuerName ListCost " +
			"ProviderName PublisherName ServiceCategory ServiceName ServiceSubcategory",
		schemas.Focus14: "BilledCost BillingAccountId BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory " +
			"ChargeFrequency ChargePeriodEnd ChargePeriodStart ContractedCost EffectiveCost HostProviderName " +
			"InvoiceIssuerName ListCost ServiceCategory ServiceName ServiceProviderName ServiceSubcategory",
	}
	focusColumnCount = map[string]int{schemas.Focus12: 57, schemas.Focus14: 65}
)

// focusRules are conditions that no row may meet.
var focusRules = map[string]string{
	"BillingCurrency is an ISO 4217 code": `NOT regexp_full_match(BillingCurrency, '[A-Z]{3}')`,
	"the billing period is a calendar month in UTC": `strftime(BillingPeriodStart, '%d %H:%M:%S') <> '01 ` +
		`00:00:00' OR BillingPeriodEnd <> BillingPeriodStart + INTERVAL 1 MONTH`,
	"the charge period is whole and not empty": `ChargePeriodEnd <= ChargePeriodStart OR ` +
		`epoch(ChargePeriodStart)::BIGINT % 3600 <> 0 OR ChargePeriodEnd > ChargePeriodStart + INTERVAL 1 DAY`,
	"a charge lies in its billing period, unless it corrects": `ChargeClass IS NULL AND (ChargePeriodStart < ` +
		`BillingPeriodStart OR ChargePeriodEnd > BillingPeriodEnd)`,
	"a correction keeps its charge period and is billed later": `ChargeClass IS NOT NULL AND ChargePeriodEnd > ` +
		`BillingPeriodStart`,
	"ChargeClass is Correction or NULL":     `ChargeClass <> 'Correction'`,
	"ChargeCategory is Usage or Adjustment": `ChargeCategory NOT IN ('Usage', 'Adjustment')`,
	"ChargeFrequency is Usage-Based":        `ChargeFrequency <> 'Usage-Based'`,
	"ServiceCategory and ServiceSubcategory": `ServiceCategory <> 'AI and Machine Learning' OR ` +
		`ServiceSubcategory <> 'Generative AI'`,
	"PricingCategory is Standard where there is a price": `PricingCategory IS DISTINCT FROM CASE WHEN ` +
		`SkuPriceId IS NOT NULL THEN 'Standard' END`,
	"list unit price times quantity is the list cost, exactly": `ListUnitPrice * PricingQuantity <> ListCost`,
	"no unit price is negative":                                `ListUnitPrice < 0`,
	"usage has all that is priced": `ChargeCategory = 'Usage' AND (SkuId IS NULL OR ` +
		`SkuPriceId IS NULL OR ListUnitPrice IS NULL OR PricingQuantity IS NULL OR PricingUnit IS NULL OR ` +
		`ConsumedQuantity IS NULL OR ConsumedUnit IS NULL)`,
	"usage is positive, unless it corrects": `ChargeClass IS NULL AND (ConsumedQuantity <= 0 OR ` +
		`PricingQuantity <= 0)`,
	"what is no usage has no quantities": `ChargeCategory <> 'Usage' AND (ConsumedQuantity IS ` +
		`NOT NULL OR ConsumedUnit IS NOT NULL OR PricingQuantity IS NOT NULL OR PricingUnit IS NOT NULL OR ListUnitPrice ` +
		`IS NOT NULL OR SkuPriceId IS NOT NULL)`,
	"SkuMeter goes with SkuId, details with SkuPriceId": `(SkuMeter IS NULL) <> (SkuId IS NULL) OR ` +
		`(SkuPriceDetails IS NULL) <> (SkuPriceId IS NULL) OR SkuPriceId IS NOT NULL AND SkuId IS NULL`,
	"SubAccountName and SubAccountType go with SubAccountId": `(SubAccountName IS NULL) <> (SubAccountId IS NULL) ` +
		`OR (SubAccountType IS NULL) <> (SubAccountId IS NULL)`,
	"units are a number and a plural": `NOT regexp_full_match(PricingUnit, '([1-9][0-9]* ` +
		`)?[A-Z][a-z]+s') OR NOT regexp_full_match(ConsumedUnit, '[A-Z][a-z]+s')`,
	"consumed and priced quantity are the same in other units": `ConsumedQuantity <> PricingQuantity * ` +
		`coalesce(TRY_CAST(split_part(PricingUnit, ' ', 1) AS INTEGER), 1) OR NOT ends_with(PricingUnit, ConsumedUnit)`,
	"billed, effective and contracted cost are the same": `BilledCost <> EffectiveCost OR BilledCost <> ContractedCost`,
	"usage is billed at list cost less discount": `SkuPriceId IS NOT NULL AND BilledCost <> ListCost - ` +
		`x_DiscountAmount`,
	"Tags is a flat JSON object": `Tags IS NOT NULL AND (json_type(Tags) <> 'OBJECT' OR ` +
		`len(list_filter(json_keys(Tags), lambda k: json_type(Tags, '$."' || k || '"') IN ('OBJECT', 'ARRAY'))) > 0 OR ` +
		`Tags = '{}')`,
	"SkuPriceDetails is a JSON object of x_ keys": `SkuPriceDetails IS NOT NULL AND (json_type(SkuPriceDetails) <> ` +
		`'OBJECT' OR len(list_filter(json_keys(SkuPriceDetails), lambda k: NOT starts_with(k, 'x_'))) > 0)`,
	"an owner's tags and columns agree": `json_extract_string(Tags, '$.cost_center') IS DISTINCT
			FROM x_CostCenter OR json_extract_string(Tags, '$.team') IS DISTINCT FROM x_Team`,
	"what goes to a pool has no owner yet": `x_Pool IS NOT NULL AND (x_CostCenter IS NOT NULL OR ` +
		`x_Team IS NOT NULL)`,
	"a charge without a price tells what it counted or adjusts": `SkuPriceId IS NULL AND (x_UnpricedQuantity IS NULL) ` +
		`<> (SkuId IS NULL)`,
}

func TestFocus(t *testing.T) {
	w, before := focusLake(t)
	t.Run("every rule holds", func(t *testing.T) { focusConforms(t, w) })
	t.Run("it sums to usage", func(t *testing.T) { focusSums(t, w) })
	t.Run("discounts are spread by largest remainder", func(t *testing.T) { focusSpreads(t, w) })
	t.Run("the files are as the views", func(t *testing.T) { focusExports(t, w) })
	t.Run("a grain sums what it leaves out", func(t *testing.T) { focusGrains(t, w) })
	t.Run("columns are those that are asked for", func(t *testing.T) { focusColumnsAsked(t, w) })
	t.Run("a csv is split within its limits", func(t *testing.T) { focusSplits(t, w) })
	t.Run("an export takes the place of the one before", func(t *testing.T) { focusReplaces(t, w) })
	t.Run("the metadata says what the files hold", func(t *testing.T) { focusMetadataTells(t, w) })
	t.Run("a closed month never changes", func(t *testing.T) { focusStays(t, w, before) })
}

// Each rule of FOCUS holds for each of its views, on usage that is as odd as it may be, with corrections.
func focusConforms(t *testing.T, w *publishtest.Writer) {
	d, done := loadtest.Connect(t, w.Lake.Database())
	defer done()
	ask := func(t *testing.T, query string) (out []string) {
		t.Helper()
		rows, err := d.QueryContext(t.Context(), "SELECT r::VARCHAR FROM ("+query+") r")
		if err != nil {
			t.Fatalf("%s\n%v", query, err)
		}
		defer rows.Close()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return out
	}
	for _, view := range []struct{ name, version string }{{"focus", schemas.Focus12}, {"focus_1_4", schemas.Focus14},
		{"focus_records", schemas.Focus12}} {
		t.Run(view.name, func(t *testing.T) {
			if _, err := d.ExecContext(t.Context(), "CREATE OR REPLACE TEMP TABLE rows AS FROM "+view.name); err != nil {
				t.Fatal(err)
			}
			none := func(t *testing.T, condition string) {
				t.Helper()
				if got := ask(t, "SELECT * FROM temp.rows WHERE coalesce("+condition+", false) LIMIT 3"); len(got) > 0 {
					t.Errorf("%s", strings.Join(got, "\n"))
				}
			}
			for _, name := range slices.Sorted(maps.Keys(focusRules)) {
				t.Run(name, func(t *testing.T) { none(t, focusRules[name]) })
			}
			var names, text []string
			types := map[string]string{}
			for _, row := range ask(t,
				"SELECT column_name || ' ' || data_type AS c FROM duckdb_columns() WHERE database_name = 'usage' AND "+
					"table_name = '"+view.name+"' ORDER BY column_index") {
				name, kind, _ := strings.Cut(strings.Trim(strings.TrimPrefix(row, "{'c': "), "'}"), " ")
				names, types[name] = append(names, name), kind
				if kind == "VARCHAR" {
					text = append(text, name)
				}
			}
			t.Run("the mandatory columns are there", func(t *testing.T) {
				for c := range strings.FieldsSeq(focusMandatory[view.version]) {
					if !slices.Contains(names, c) {
						t.Errorf("%s is missing", c)
					}
				}
			})
			t.Run("what may not be NULL is not", func(t *testing.T) {
				for c := range strings.FieldsSeq(focusNeverNull[view.version]) {
					none(t, `"`+c+`" IS NULL`)
				}
			})
			t.Run("FOCUS's columns come first, ours after them, named x_PascalCase", func(t *testing.T) {
				own := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, "x_") })
				if own < 30 || !slices.IsSorted(names[:own]) {
					t.Errorf("%v", names)
				}
				spec := schemas.FocusSpec(view.version)
				for _, n := range names[:own] {
					if !slices.ContainsFunc(spec, func(c schemas.FocusColumn) bool { return c.Name == n }) {
						t.Errorf("%s is no column of FOCUS %s", n, view.version)
					}
				}
				for _, n := range names[own:] {
					if !regexp.MustCompile(`^x_[A-Z][A-Za-z]+$`).MatchString(n) {
						t.Errorf("%s", n)
					}
				}
			})
			t.Run("the columns have their types", func(t *testing.T) {
				for _, c := range schemas.FocusColumns(view.version) {
					got, _, _ := strings.Cut(types[c.Name], "(")
					if want := map[string]string{"String": "VARCHAR", "JSON": "VARCHAR", "Decimal": "DECIMAL",
						"Date/Time": "TIMESTAMP WITH TIME ZONE"}[c.Type]; want != "" && got != want {
						t.Errorf("%s is %s, want %s", c.Name, types[c.Name], want)
					}
				}
			})
			if view.version == schemas.Focus14 {
				t.Run("contracted unit price times quantity is the contracted cost, exactly", func(t *testing.T) {
					none(t, "ContractedUnitPrice * PricingQuantity <> ContractedCost OR ContractedUnitPrice < 0 OR SkuPriceId IS "+
						"NULL AND ContractedUnitPrice IS NOT NULL")
					for _, x := range []string{"ContractedUnitPrice < ListUnitPrice", "ContractedUnitPrice = ListUnitPrice",
						"ContractedUnitPrice IS NULL AND SkuPriceId IS NOT NULL"} {
						if len(ask(t, "SELECT 1 AS one FROM temp.rows WHERE "+x+" LIMIT 1")) == 0 {
							t.Errorf("no row has %s", x)
						}
					}
				})
			}
			t.Run("values are of those allowed, NULL only where it may be", func(t *testing.T) {
				for _, c := range schemas.FocusColumns(view.version) {
					if len(c.Values) > 0 {
						none(t, `"`+c.Name+`" NOT IN ('`+strings.Join(c.Values, "', '")+"')")
					}
					if !c.Nullable {
						none(t, `"`+c.Name+`" IS NULL`)
					}
				}
			})
			t.Run("a placeholder is NULL, never empty", func(t *testing.T) {
				for _, c := range text {
					none(t, `trim("`+c+`") = ''`)
				}
			})
			t.Run("a SkuPriceId has one SkuId and one set of details, whatever the price", func(t *testing.T) {
				if got := ask(t, "SELECT SkuPriceId FROM temp.rows WHERE SkuPriceId IS NOT NULL GROUP BY 1 HAVING count(DISTINCT "+
					"SkuId) > 1 OR count(DISTINCT SkuPriceDetails) > 1 OR count(DISTINCT SkuMeter) > 1"); len(got) > 0 {
					t.Errorf("%v", got)
				}
				if got := ask(t, "SELECT SkuPriceId FROM temp.rows GROUP BY 1 HAVING count(DISTINCT ListUnitPrice) > 1 AND "+
					"count(DISTINCT BillingCurrency) > 1"); len(got) == 0 {
					t.Error("no SkuPriceId has had two prices in two currencies")
				}
			})
			t.Run("nothing is missing from the fixture", func(t *testing.T) {
				if view.name == "focus_records" {
					none(t, "ChargeClass IS NOT NULL")
					return
				}
				for _, x := range []string{"ChargeClass IS NOT NULL AND ChargeCategory = 'Usage'",
					"ChargeClass IS NULL AND ChargeCategory = 'Adjustment'", "BilledCost < 0", "ListUnitPrice = 0",
					"x_Pool IS NOT NULL",
					"PricingUnit = '1000 Tokens'", "PricingUnit = 'Units'", "SkuMeter = 'Input V2 Audio'",
					"SkuId LIKE 'vendor-a/model-%/input'", "SkuId = 'input'", "x_UnpricedQuantity < 0", "SubAccountId IS NULL",
					"BillingCurrency = 'EUR'"} {
					if len(ask(t, "SELECT 1 AS one FROM temp.rows WHERE "+x+" LIMIT 1")) == 0 {
						t.Errorf("no row has %s", x)
					}
				}
			})
		})
	}
	for _, v := range schemas.FocusVersions() {
		spec := schemas.FocusSpec(v)
		var mandatory []string
		for _, c := range spec {
			if c.Level == schemas.FocusMandatory {
				mandatory = append(mandatory, c.Name)
			}
		}
		if len(spec) != focusColumnCount[v] || strings.Join(mandatory, " ") != focusMandatory[v] {
			t.Errorf("FOCUS %s has %d columns, mandatory %v", v, len(spec), mandatory)
		}
	}
}

// What FOCUS bills sums to the amounts of usage to the last digit: per record, and per currency and month of usage.
// What it leaves out stands in focus_omitted.
func focusSums(t *testing.T, w *publishtest.Writer) {
	const charged = `amount IS NOT NULL AND regexp_full_match(currency, '[A-Z]{3}')`
	for what, q := range map[string][2]string{
		"by record": {
			"SELECT account, id, sum(list_cost), sum(discount), sum(net_cost) FROM focus_lines GROUP BY ALL ORDER BY ALL",
			"SELECT account, id, coalesce(total_amount::DECIMAL(38,12), amount::DECIMAL(38,12) + coalesce(discount_amount, " +
				"0))::DECIMAL(38,18), coalesce(discount_amount, 0)::DECIMAL(38,18), amount::DECIMAL(38,18) FROM usage WHERE " +
				charged + " AND (account, id) IN (SELECT (account, id) FROM focus_lines) ORDER BY ALL"},
		"records without a line": {
			"SELECT count(*) FROM usage WHERE " + charged +
				" AND (amount <> 0 OR input_tokens <> 0 OR total_amount <> 0) AND (account, id) NOT IN (SELECT (account, id) " +
				"FROM focus_lines)", "SELECT 0"},
		"by month of usage": {
			"SELECT BillingCurrency, BillingAccountId, date_trunc('month', ChargePeriodStart) AS m, sum(ListCost), " +
				"sum(x_DiscountAmount), sum(BilledCost) FROM focus GROUP BY ALL ORDER BY ALL",
			"SELECT currency, account, date_trunc('month', usage_date)::TIMESTAMPTZ AS m, " +
				"sum(coalesce(total_amount::DECIMAL(38,12), amount::DECIMAL(38,12) + coalesce(discount_amount, " +
				"0)))::DECIMAL(38,18), coalesce(sum(discount_amount), 0)::DECIMAL(38,18), sum(amount)::DECIMAL(38,18) FROM usage " +
				"WHERE " + charged + " GROUP BY ALL ORDER BY ALL"},
		"by day, 1.4": {
			"SELECT BillingCurrency, ChargePeriodStart, sum(BilledCost) FROM focus_1_4 GROUP BY ALL ORDER BY ALL",
			"SELECT currency, usage_date::TIMESTAMPTZ, sum(amount)::DECIMAL(38,18) FROM usage WHERE " + charged +
				" GROUP BY ALL ORDER BY ALL"},
		"records of open months": {
			"SELECT BillingCurrency, sum(BilledCost) FROM focus_records GROUP BY ALL ORDER BY ALL",
			"SELECT currency, sum(amount)::DECIMAL(38,18) FROM usage WHERE usage_date >= '2026-10-01' AND " + charged +
				" GROUP BY ALL ORDER BY ALL"},
		"tokens, priced or not, but for those omitted": {
			"SELECT sum(coalesce(ConsumedQuantity, x_UnpricedQuantity)) FROM focus WHERE x_MeterCategory = 'tokens' AND " +
				"x_MeterItem IN ('input', 'cached', 'output')",
			"SELECT sum(coalesce(input_tokens, 0)::HUGEINT + coalesce(cached_tokens, 0) + coalesce(output_tokens, " +
				"0))::DECIMAL(38,12) FROM usage WHERE " + charged},
		"what is left out": {
			"SELECT sum(requests)::BIGINT, sum(net_cost) FROM focus_omitted",
			"SELECT count(*), sum(amount) FROM usage WHERE NOT coalesce(" + charged + ", false)"},
	} {
		got, want := w.Ask(q[0]), w.Ask(q[1])
		if len(got) == 0 || !slices.EqualFunc(got, want, loadtest.SameValues) {
			t.Errorf("%s: %s", what, schemastest.FirstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
		}
	}
}

// The same of any usage: the lines of each record sum to it, and no row's price times its quantity is another cost.
func TestFocusOfAnyUsageIsExact(t *testing.T) {
	few(t, 3)
	rapid.Check(t, func(rt *rapid.T) {
		w := publishtest.New(t, load.Options{})
		for i := range 3 {
			p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-30") + schemas.Date(i)}
			n, seed := rapid.IntRange(1, 400).Draw(rt, "records"), rapid.Int64Range(1, 1<<40).Draw(rt, "seed")
			w.DayFrom(p, oddUsageSQL(p, n, seed), fmt.Sprint(p, n, seed), nil)
		}
		w.Publish(publish.PublishOptions{Finance: testFinance})
		for what, query := range map[string]string{
			"a record": `SELECT u.account, u.id, u.amount, l.net FROM usage u LEFT
				JOIN (SELECT account, id, sum(net_cost) AS net, sum(list_cost) AS list, sum(discount) AS off FROM focus_lines
				GROUP BY ALL) l USING (account, id)
				WHERE u.amount IS NOT NULL AND regexp_full_match(u.currency, '[A-Z]{3}') AND (coalesce(l.net, 0),
				coalesce(l.off, 0)) <> (u.amount::DECIMAL(38,18), coalesce(u.discount_amount, 0)::DECIMAL(38,18))
				OR u.total_amount <> l.list`,
			"a product": "SELECT * FROM focus WHERE ListUnitPrice * PricingQuantity <> ListCost OR ListCost - " +
				"x_DiscountAmount <> BilledCost AND SkuId IS NOT NULL",
		} {
			if got := w.Ask(query); len(got) > 0 {
				rt.Fatalf("%s: %s", what, got[0])
			}
		}
	})
}

// A record's discount is spread by largest remainder, computed here anew from the record.
func focusSpreads(t *testing.T, w *publishtest.Writer) {
	db, done := loadtest.Connect(t, w.Lake.Database())
	defer done()
	rows, err := db.QueryContext(t.Context(), `
		SELECT l.account || ' ' || l.id, (u.discount_amount * 1000000000000::DECIMAL(38,0))::HUGEINT::VARCHAR,
			string_agg((l.list_cost * 1000000000000)::HUGEINT::VARCHAR, ' '
			ORDER BY CASE l.line WHEN 'input' THEN 1 WHEN 'cached' THEN 2 WHEN 'output' THEN 3 ELSE 4 END, p.at),
			string_agg((l.discount * 1000000000000)::HUGEINT::VARCHAR, ' '
			ORDER BY CASE l.line WHEN 'input' THEN 1 WHEN 'cached' THEN 2 WHEN 'output' THEN 3 ELSE 4 END, p.at)
		FROM focus_lines l JOIN usage u USING (account, id)
		LEFT JOIN (SELECT account, id, unnest(ext_items) AS e, unnest(range(len(ext_items))) AS at FROM usage) p
			ON l.line = 'ext' AND p.account = l.account AND p.id = l.id AND p.e.category = l.category
			AND p.e.item IS NOT DISTINCT FROM l.item AND p.e.price IS NOT DISTINCT FROM l.price
		WHERE u.discount_amount <> 0 AND l.price IS NOT NULL GROUP BY ALL`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	number := func(s string) *big.Int { v, _ := new(big.Int).SetString(s, 10); return v }
	n, uneven := 0, 0
	for rows.Next() {
		var id, discount, costs, parts string
		if err := rows.Scan(&id, &discount, &costs, &parts); err != nil {
			t.Fatal(err)
		}
		total, sum := number(discount), new(big.Int)
		weights := strings.Fields(costs)
		for _, c := range weights {
			sum.Add(sum, number(c))
		}
		if sum.Sign() == 0 {
			continue
		}
		want, rests := make([]*big.Int, len(weights)), make([]*big.Int, len(weights))
		left := new(big.Int).Abs(total)
		for i, c := range weights {
			want[i], rests[i] = new(big.Int).QuoRem(new(big.Int).Mul(new(big.Int).Abs(total), number(c)), sum, new(big.Int))
			left.Sub(left, want[i])
		}
		order := make([]int, len(weights))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return rests[b].Cmp(rests[a]) })
		for i := range left.Int64() {
			want[order[i]].Add(want[order[i]], big.NewInt(1))
			uneven++
		}
		var text []string
		for _, v := range want {
			text = append(text, v.Mul(v, big.NewInt(int64(total.Sign()))).String())
		}
		if strings.Join(text, " ") != parts {
			t.Errorf("%s: %s over %s is %s, want %v", id, discount, costs, parts, text)
		}
		n++
	}
	if err := rows.Err(); err != nil || n < 300 || uneven < 300 {
		t.Errorf("%d records, %d units left over, %v", n, uneven, err)
	}
}

// A closed month's rows stay as they were; what came since is billed in the next open month and says so.
func focusStays(t *testing.T, w *publishtest.Writer, before []string) {
	var after []string
	for _, month := range []string{"2026-08", "2026-09"} {
		after = append(after,
			w.Ask("SELECT * FROM focus WHERE BillingPeriodStart = '"+month+"-01 00:00:00+00' ORDER BY ALL")...)
	}
	if len(before) < 300 || !slices.Equal(before, after) {
		t.Errorf("%d rows, then %d: %s", len(before), len(after),
			schemastest.FirstDifference(strings.Join(before, "\n"), strings.Join(after, "\n")))
	}
	got := w.Ask("SELECT DISTINCT BillingPeriodStart::VARCHAR AS b, ChargePeriodStart::VARCHAR AS c FROM focus WHERE " +
		"ChargeClass = 'Correction' ORDER BY ALL")
	want := []string{"{'b': '2026-10-01 00:00:00+00', 'c': '2026-09-05 00:00:00+00'}",
		"{'b': '2026-10-01 00:00:00+00', 'c': '2026-09-17 00:00:00+00'}"}
	if !slices.Equal(got, want) {
		t.Errorf("corrections: %v", got)
	}
	full := w.Dump()
	f := testFinance
	f.Archived = publishtest.Archived(f.Rules)
	w.Publish(publish.PublishOptions{Finance: f, Full: true})
	if d := w.Dump(); d != full {
		t.Errorf("built from nothing: %s", schemastest.FirstDifference(full, d))
	}
}

// thousands is what a spreadsheet whose decimal sign is a comma takes for a whole number.
var thousands = regexp.MustCompile(`^-?\d{1,3}\.\d{3}$`)

// No number of a CSV has exactly three decimals, of FOCUS or of any query.
func TestNoNumberOfACSVIsReadAsThousands(t *testing.T) {
	for in, want := range map[string]string{"1.125": "1.1250", "-221.152": "-221.1520", "1234.567": "1234.5670", "0": "0",
		"125": "125", "1.12": "1.12", "1.1250": "1.1250", "-0.5": "-0.5", "NaN": "NaN", "1.5e-05": "1.5e-05"} {
		if got := CSVNumber(in); got != want {
			t.Errorf("%s is written as %s, want %s", in, got, want)
		}
	}
	w := publishtest.New(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "1.125", "USD"),
		loadtest.Charge(p, "b", "tk_2", "m1", "-221.152", "KWD"))
	w.Publish(publish.PublishOptions{Finance: testFinance})
	var out bytes.Buffer
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Format: FocusCSV, Out: &out}); err != nil ||
		!strings.Contains(out.String(), ",1.125000000000000000,") {
		t.Errorf("%v: %s", err, &out)
	}
	rows, err := Run(t.Context(), w.Lake,
		"SELECT 1.125 AS a, 1.125::DOUBLE AS b, -221.152::DECIMAL(38,3) AS c, amount, '1.125' AS text FROM usage")
	must(t, err)
	defer rows.Close()
	if _, err := rows.WriteCSV(t.Context(), &out, CSVForm{}); err != nil ||
		!strings.Contains(out.String(), "\n1.1250,1.1250,-221.1520,1.125000000000,1.125\n") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestTheDocsNameEveryColumnOfFocus(t *testing.T) {
	b, err := os.ReadFile("../../docs/focus.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range schemas.FocusVersions() {
		for _, c := range append(schemas.FocusSpec(v), schemas.FocusColumns(v)...) {
			if !strings.Contains(string(b), "`"+c.Name+"`") {
				t.Errorf("docs/focus.md doesn't name %s", c.Name)
			}
			if c.Absent == "" && !strings.Contains(string(b), c.Comment) || c.Absent != "" &&
				!strings.Contains(string(b), c.Absent) {
				t.Errorf("docs/focus.md tells something else of %s", c.Name)
			}
		}
	}
}

func TestFocusExportRefuses(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	first := schemastest.Date("2026-10-01").Month()
	for what, opts := range map[string]FocusOptions{
		`FOCUS "1.3" is not known`:          {Version: "1.3", Path: "x.csv"},
		`the format "xlsx" is not known`:    {Path: "x.xlsx"},
		"either to a file or to a writer":   {Format: FocusCSV},
		"the end is excluded":               {Path: "x.csv", From: &first, To: &first},
		`the dataset "prices" is not known`: {Path: "x.csv", Dataset: "prices"},
		"1.2 has no dataset invoice_detail": {Path: "x.csv", Dataset: schemas.FocusInvoiceDetail, Version: schemas.Focus12},
		"invoice_detail has its own rows":   {Path: "x.csv", Dataset: schemas.FocusInvoiceDetail, Grain: "token"},
		"can't be narrowed by model": {Path: "x.csv", Dataset: schemas.FocusInvoiceDetail,
			Scope: Scope{Accounts: []string{"a"}, Models: []string{"m"}}},
		"can't be narrowed by account": {Path: "x.csv", Dataset: schemas.FocusBillingPeriod,
			Scope: Scope{Accounts: []string{"a"}}},
		`the grain "hour" is not known`:       {Path: "x.csv", Grain: "hour"},
		`has no column "billedcost"`:          {Path: "x.csv", Columns: []string{"BilledCost", "billedcost"}},
		`has no column "ContractedUnitPrice"`: {Path: "x.csv", Columns: []string{"ContractedUnitPrice"}},
		"no column is named":                  {Path: "x.csv", Columns: []string{}},
		"did you mean BilledCost?":            {Path: "x.csv", Columns: []string{"billedcosts"}},
		"docs/focus.md lists them":            {Path: "x.csv", Columns: []string{"x"}},
		"1.2 allows none to be NULL":          {Path: "x.csv", Columns: []string{"ContractedUnitPrice"}},
		"BilledCost is asked for twice":       {Path: "x.csv", Columns: []string{"BilledCost", "BilledCost"}},
		"only a csv is split":                 {Path: "x.parquet", MaxRows: 1},
		"several files need a name":           {Format: FocusCSV, Out: new(bytes.Buffer), MaxBytes: 1},
		"are above 0":                         {Path: "x.csv", MaxRows: -1},
		"no rows by record":                   {Version: schemas.Focus14, Path: "x.csv", Grain: schemas.FocusByRecord},
		"nothing is published":                {Path: filepath.Join(t.TempDir(), "x.csv")},
	} {
		if _, err := ExportFocus(t.Context(), w.Lake, opts); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q: %v", what, err)
		}
	}
	w.RandomDays(1, 5)
	w.Publish(publish.PublishOptions{})
	missing := filepath.Join(t.TempDir(), "missing", "x.csv")
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: missing}); err == nil {
		t.Error("wrote into a directory that isn't there")
	}
	// What is open reads as before, in a session of any time zone.
	d, done := loadtest.Connect(t, w.Lake.Database())
	defer done()
	if _, err := d.ExecContext(t.Context(), "SET TimeZone = 'Asia/Tokyo'"); err != nil {
		t.Fatal(err)
	}
	var start time.Time
	if err := d.QueryRowContext(t.Context(), "SELECT min(ChargePeriodStart) FROM focus").Scan(&start); err != nil ||
		!start.Equal(time.Date(2026, 10, 15, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("in Tokyo the first charge period starts at %s: %v", start.UTC(), err)
	}
}
