package pack

import (
	"fmt"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// handed are the columns of a record as they are handed out, before those of its cost.
const handed = `book_date, request_time, account, id, "ordinal", record_kind, token_id, user_id, custom_user_id, model,
	model_type, charge, pool, rule_id, rule_version, team, project, environment, gl_code, input_tokens, output_tokens,
	cached_tokens, total_tokens, input_price, output_price, cached_price, currency`

// recordsOrder names each row.
const recordsOrder = `book_date, request_time, account, id, "ordinal", charge, team, project, environment, gl_code,
	share`

// costs are the columns of a record's cost: what the record has, and what a share has.
var costs = []struct{ record, share string }{
	{"total_amount", "list_cost"}, {"discount_amount", "discount"}, {"amount", "net_cost"},
}

// recordsSQL asks for every record that somebody is charged for in the month, with whom: as it is, where the rules give
// it to an owner; and of a shared pool once for each share, with the owner's part of its cost, and nothing that tells
// whose it was or what all of it cost: no token, user, count of tokens, or price.
//
// A part is the record's cost × the share's ratio, rounded to twelve decimals. The share itself was computed from
// weights, and the ratio is rounded: what the parts lack to it, or have too much, some units of the last decimal, is
// spread over them evenly, to the earlier ones first. So the parts of a share sum to it, column by column.
func recordsSQL(books *schemas.Books, month schemas.Month) string {
	within := fmt.Sprintf("book_date >= DATE '%s' AND book_date < DATE '%s'", books.First(month), books.End(month))
	var own, whole, based, left, parts []string
	for _, c := range costs {
		own = append(own, fmt.Sprintf("%s::DECIMAL(38,12) AS %s", c.record, c.share))
		whole = append(whole, fmt.Sprintf("s.%[2]s AS %[2]s_share, (u.%[1]s * s.ratio)::DECIMAL(38,12) AS %[2]s_part",
			c.record, c.share))
		based = append(based, fmt.Sprintf(`((%[1]s_share - sum(%[1]s_part) OVER share)::DECIMAL(18,12)
			* 1000000000000::DECIMAL(13,0))::BIGINT AS %[1]s_left, count(%[1]s_part) OVER share AS %[1]s_parts,
			row_number() OVER (PARTITION BY share, %[1]s_part IS NULL ORDER BY request_time, id, "ordinal") AS %[1]s_place`,
			c.share))
		left = append(left, fmt.Sprintf(`sign(%[1]s_left) * (abs(%[1]s_left) // %[1]s_parts
			+ CASE WHEN %[1]s_place <= abs(%[1]s_left) %% %[1]s_parts THEN 1 ELSE 0 END) AS %[1]s_units`, c.share))
		parts = append(parts, fmt.Sprintf(
			"(%[1]s_part + %[1]s_units::DECIMAL(18,0) * 0.000000000001)::DECIMAL(38,12) AS %[1]s", c.share))
	}
	columns := strings.Join([]string{"list_cost", "discount", "net_cost"}, ", ")
	return `WITH shares AS (
		SELECT row_number() OVER () AS share, * FROM (FROM shared_cost_shares WHERE ` + within + ` ORDER BY ALL)
	), pooled AS (
		SELECT s.share, coalesce(s.cost_center, '` + schemas.Unallocated + `') AS cost_center, u.book_date, u.request_time,
			u.account, u.id, u."ordinal", u.record_kind, u.model, u.model_type, 'share of ' || s.pool AS charge, s.pool,
			s.rule_id, s.rule_version, s.team, s.project, s.environment, s.gl_code, u.currency, ` +
		strings.Join(whole, ", ") + `
		FROM allocated_usage u JOIN shares s ON s.usage_date = u.usage_date AND s.book_date = u.book_date
			AND s.account = u.account AND s.pool = u.pool AND s.rule_id IS NOT DISTINCT FROM u.rule_id
			AND s.rule_version IS NOT DISTINCT FROM u.rule_version AND s.model IS NOT DISTINCT FROM u.model
			AND s.model_type IS NOT DISTINCT FROM u.model_type AND s.record_kind = u.record_kind
			AND s.currency IS NOT DISTINCT FROM u.currency
	), based AS (
		SELECT *, ` + strings.Join(based, ", ") + ` FROM pooled WINDOW share AS (PARTITION BY share)
	), spread AS (
		SELECT *, ` + strings.Join(left, ", ") + ` FROM based
	), records AS (
		SELECT NULL::BIGINT AS share, coalesce(cost_center, '` + schemas.Unallocated + `') AS cost_center, * EXCLUDE
			(cost_center, pool), NULL::VARCHAR AS pool, 'direct' AS charge, ` + strings.Join(own, ", ") + `
		FROM allocated_usage WHERE pool IS NULL AND ` + within + `
		UNION ALL BY NAME
		SELECT share, cost_center, book_date, request_time, account, id, "ordinal", record_kind, model, model_type, charge,
			pool, rule_id, rule_version, team, project, environment, gl_code, currency, ` + strings.Join(parts, ", ") + `
		FROM spread
	)
	SELECT cost_center, share, ` + handed + ", " + columns + ` FROM records ORDER BY cost_center, ` + recordsOrder
}

// recordsOf asks the kept answer to recordsSQL for those of a cost centre.
func recordsOf(costCenter string) string {
	return "SELECT " + handed + ", list_cost, discount, net_cost FROM parts WHERE cost_center = " +
		schemas.SQLString(costCenter) + " ORDER BY " + recordsOrder
}
