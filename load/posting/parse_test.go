package posting_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/encoding/charmap"

	"github.com/usagelake/usagelake/load/posting"
)

// read is a line as a ledger reads it.
type read struct {
	document, date, account, currency, id string
	amount                                *big.Rat // debits above 0
}

// parse reads a file by the rules of its format, and by nothing that wrote it.
func parse(format string, f posting.File) ([]read, error) {
	switch format {
	case "hledger", "ledger":
		return parseTransactions(f, `^(\d{4}-\d\d-\d\d) [*!] \((\S+)\) [^;\n]+$`, `^    ; (\w+): (.*)$`, 4)
	case "beancount":
		return parseTransactions(f, `^(\d{4}-\d\d-\d\d) [*!] "(?:[^"\\]|\\.)*" \^(\S+)$`, `^    (\w+): "(.*)"$`, 2)
	case "datev":
		return parseDATEV(f)
	case "sap":
		return parseSAP(f)
	}
	rows, err := csv.NewReader(bytes.NewReader(f.Content)).ReadAll()
	if err != nil {
		return nil, err
	}
	head := rows[0]
	at := func(name string) int { return slices.Index(head, name) }
	currency := strings.TrimSuffix(f.Name, ".csv")
	for _, part := range strings.Split(currency, "-") {
		if len(part) == 3 && strings.ToUpper(part) == part {
			currency = part
		}
	}
	columns := map[string][6]string{ // document, date, account, debit, credit, text
		"xero":       {"*Narration", "*Date", "*AccountCode", "*Amount", "", "Description"},
		"quickbooks": {"Journal No", "Journal Date", "Account Name", "Debits", "Credits", "Description"},
		"netsuite":   {"External ID", "Date", "Account", "Debit", "Credit", "Line Memo"},
		"odoo":       {"id", "date", "line_ids/account_id", "line_ids/debit", "line_ids/credit", "line_ids/name"},
	}[format]
	layout := map[string]string{"xero": "02/01/2006", "odoo": "2006-01-02"}[format]
	if layout == "" {
		layout = "01/02/2006"
	}
	var out []read
	for _, row := range rows[1:] {
		r := read{document: row[at(columns[0])], date: row[at(columns[1])], account: row[at(columns[2])], currency: currency}
		if r.document == "" { // odoo: as the line above
			r.document, r.date = out[len(out)-1].document, out[len(out)-1].date
		} else if d, err := time.Parse(layout, r.date); err == nil {
			r.date = d.Format(time.DateOnly)
		} else {
			return nil, err
		}
		if i := at("Currency"); i >= 0 {
			r.currency = row[i]
		}
		if r.amount, err = sides(row[at(columns[3])], cell(row, at(columns[4]))); err != nil {
			return nil, err
		}
		text := row[at(columns[5])]
		r.id = text[strings.LastIndex(text, " ")+1:]
		if strings.ContainsAny(text[:1], "=+-@\t\r") {
			return nil, fmt.Errorf("a spreadsheet computes %q", text)
		}
		out = append(out, r)
	}
	return out, nil
}

func cell(row []string, i int) string {
	if i < 0 {
		return ""
	}
	return row[i]
}

// sides is a debit less a credit, of which one stands there.
func sides(debit, credit string) (*big.Rat, error) {
	out := new(big.Rat)
	for i, s := range []string{debit, credit} {
		if s == "" {
			continue
		}
		n, ok := new(big.Rat).SetString(s)
		if !ok {
			return nil, fmt.Errorf("%q is no amount", s)
		}
		if i == 1 {
			n.Neg(n)
		}
		out.Add(out, n)
	}
	if out.Sign() == 0 {
		return nil, fmt.Errorf("a line of nothing: %q %q", debit, credit)
	}
	return out, nil
}

func parseSAP(f posting.File) ([]read, error) {
	rows, err := csv.NewReader(bytes.NewReader(f.Content)).ReadAll()
	if err != nil {
		return nil, err
	}
	var out []read
	var doc read
	for i := 0; i < len(rows); i++ {
		switch {
		case rows[i][1] == "Header":
			h := rows[i+3]
			if !slices.Equal(rows[i+1][1:8], []string{"BUKRS", "BLART", "BLDAT", "BUDAT", "BKTXT", "WAERS", "XBLNR"}) ||
				len([]rune(h[5])) > 25 || len(h[7]) > 16 || h[1] != "1000" {
				return nil, fmt.Errorf("no head: %q", h)
			}
			d, err := time.Parse("20060102", h[4])
			if err != nil {
				return nil, err
			}
			doc = read{document: h[7], date: d.Format(time.DateOnly), currency: h[6]}
			i += 3
		case rows[i][1] == "BUKRS" && rows[i][2] == "HKONT":
			for i += 2; i < len(rows) && rows[i][2] != ""; i++ {
				r := doc
				text := rows[i][3]
				if len([]rune(text)) > 50 || len(rows[i][2]) > 10 {
					return nil, fmt.Errorf("too long: %q", rows[i])
				}
				r.account, r.id = rows[i][2], text[strings.LastIndex(text, " ")+1:]
				if r.amount, err = sides(rows[i][4], rows[i][5]); err != nil {
					return nil, err
				}
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// parseDATEV gives two lines for each posting: its account's and the contra account's.
func parseDATEV(f posting.File) ([]read, error) {
	if !strings.HasPrefix(f.Name, "EXTF_") || !strings.HasSuffix(f.Name, ".csv") {
		return nil, fmt.Errorf("DATEV shows no file %s", f.Name)
	}
	text, err := charmap.Windows1252.NewDecoder().String(string(f.Content))
	if err != nil {
		return nil, err
	}
	lines := strings.Split(text, "\r\n")
	if n := len(lines); lines[n-1] != "" || strings.Contains(strings.Join(lines, ""), "\n") {
		return nil, fmt.Errorf("lines end otherwise")
	}
	header := strings.Split(lines[0], ";")
	if len(header) != 31 || header[2] != "21" || header[4] != "13" || len(header[5]) != 17 {
		return nil, fmt.Errorf("%d fields in the head: %s", len(header), lines[0])
	}
	var out []read
	number := regexp.MustCompile(`^\d{1,10},\d{2}$`)
	for i, line := range lines[1 : len(lines)-1] {
		c := csv.NewReader(strings.NewReader(line))
		c.Comma = ';'
		row, err := c.Read()
		if err != nil || len(row) != 125 {
			return nil, fmt.Errorf("line %d has %d fields: %w", i, len(row), err)
		}
		if i == 0 {
			continue
		}
		if !number.MatchString(row[0]) || row[0] == "0,00" || (row[1] != "S" && row[1] != "H") ||
			len([]rune(row[13])) > 60 || len(row[10]) > 36 || row[113] != "0" {
			return nil, fmt.Errorf("no posting: %q", row)
		}
		amount, _ := new(big.Rat).SetString(strings.Replace(row[0], ",", ".", 1))
		if row[1] == "H" {
			amount.Neg(amount)
		}
		from, _ := time.Parse("20060102", header[14])
		begins, _ := time.Parse("20060102", header[12])
		date, err := time.Parse("02012006", row[9]+fmt.Sprint(begins.Year()))
		if err == nil && date.Before(begins) { // the year is that of the fiscal year
			date = date.AddDate(1, 0, 0)
		}
		if err != nil || date.Before(from) || date.Format("20060102") > header[15] {
			return nil, fmt.Errorf("%s is not in %s to %s", row[9], header[14], header[15])
		}
		one := read{document: header[16], date: date.Format(time.DateOnly), account: row[6], currency: row[2], id: row[10],
			amount: amount}
		contra := one
		contra.account, contra.id, contra.amount = row[7], "", new(big.Rat).Neg(amount)
		out = append(out, one, contra)
	}
	return out, nil
}

// parseTransactions reads plain-text accounting: heads, postings that are indented, and the tags below them.
func parseTransactions(f posting.File, head, tag string, indent int) ([]read, error) {
	heads, tags := regexp.MustCompile(head), regexp.MustCompile(tag)
	post := regexp.MustCompile(fmt.Sprintf(`^ {%d}((?:[\p{Lu}\p{Nd}][\p{L}\p{Nd}-]*:)+[\p{Lu}\p{Nd}][\p{L}\p{Nd}-]*)  `+
		`(-?\d+(?:\.\d+)?) ([A-Z]{3})$`, indent))
	var out []read
	var doc read
	for _, line := range strings.Split(strings.TrimSuffix(string(f.Content), "\n"), "\n") {
		if m := heads.FindStringSubmatch(line); m != nil {
			doc = read{date: m[1], document: m[2]}
		} else if m := post.FindStringSubmatch(line); m != nil {
			r := doc
			r.account, r.currency = m[1], m[3]
			r.amount, _ = new(big.Rat).SetString(m[2])
			out = append(out, r)
		} else if m := tags.FindStringSubmatch(line); m != nil {
			if n := len(out); m[1] == "id" && n > 0 && out[n-1].document == doc.document && out[n-1].id == "" {
				out[n-1].id = m[2]
			}
		} else if line != "" && line != "decimal-mark ." && !strings.HasPrefix(line, "  id: ") &&
			!strings.HasPrefix(line, "  period: ") {
			return nil, fmt.Errorf("no line of %s: %q", f.Name, line)
		}
	}
	return out, nil
}
