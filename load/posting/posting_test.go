package posting_test

import (
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

// settings are those of a company that imports into every ledger.
func settings(currency string) posting.Settings {
	return posting.Settings{Xero: posting.Xero{TaxRate: "Tax Exempt (0%)"}, SAP: posting.SAP{CompanyCode: "1000"},
		DATEV: posting.DATEV{Consultant: 29098, Client: 55003, Currency: currency}}
}

func amount(t interface{ Fatal(...any) }, s string) schemas.Money {
	m, err := schemas.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func october() schemas.Period {
	m, _ := schemas.ParseMonth("2026-10")
	return (*schemas.Books)(nil).Period(m, m)
}

// journal is one of October 2026, of debits "account|cost centre|exact|posted", the last with what it corrects.
func journal(t interface{ Fatal(...any) }, currency string, debits ...string) posting.Journal {
	j := posting.Journal{Period: october(), Currency: currency, Credit: "2100"}
	for _, d := range debits {
		p := strings.Split(d, "|")
		one := posting.Debit{Account: p[0], CostCenter: p[1], Exact: amount(t, p[2]), Amount: amount(t, p[3])}
		if len(p) > 4 {
			one.Corrects, _ = schemas.ParseMonth(p[4])
		}
		j.Debits, j.Credited = append(j.Debits, one), j.Credited.Sub(one.Amount)
	}
	return j
}

// month is a month of the demo in small: a refund, a correction of September, what nobody is charged for, and a line of
// less than a cent.
func month(t interface{ Fatal(...any) }) posting.Journal {
	return journal(t, "USD", "6100|CC-1010|297.570112345678|297.57", "6110|CC-1020|411.829987654321|411.83",
		"6110|CC-1020|-3.141592653589|-3.14|2026-09", "6120|CC-2010|0.004100000000|0.00",
		"6140|CC-3010|-20.500000000000|-20.50",
		"6999|(unallocated)|7.703900000000|7.70")
}

// strange is one whose cost centres are called what ledgers stumble over.
func strange(t interface{ Fatal(...any) }) posting.Journal {
	var debits []string
	for i, name := range []string{"R&D", "R-26-D", "research", "Xresearch", "=1+1", `say "no"; never, ever`, "a\nb\tc",
		"date:2020-01-01", "[2020-01-01]", "  two  blanks ", "研究", "-", "--2d-", "é:ü", `back\slash`,
		"x; id: ul-0", "", "unallocated",
		"(unallocated)", "Ünïcode-1", "1-2", "a-", "$5 @ 3 EUR"} {
		debits = append(debits, fmt.Sprintf("6100|%s|%d.25|%d.25", name, i+1, i+1))
	}
	return journal(t, "USD", debits...)
}

func entries(t interface{ Fatal(...any) }, j posting.Journal, s posting.Settings, accrual bool) []posting.Entry {
	e, err := posting.Entries(j, s, accrual)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What is written is what it was: read it in review, and hold it against the vendor's page.
func TestEveryFormatIsWhatItWas(t *testing.T) {
	full := settings("USD")
	full.Accounts = []posting.Account{{GLCode: "6140", Name: "6141"}}
	full.Xero.Tracking, full.NetSuite.CostCenter, full.NetSuite.Subsidiary = "Cost centre", "Department", "Acme Inc."
	full.SAP.CostCenters, full.SAP.TaxCode, full.Odoo.Journal = true, "V0", "Miscellaneous Operations"
	full.DATEV.CostCenters, full.DATEV.TaxKey, full.DATEV.FiscalYear = true, "9", 7
	for _, c := range []struct {
		name    string
		journal posting.Journal
		accrual bool
		posting.Settings
	}{{"charge", month(t), false, full}, {"accrual", month(t), true, settings("USD")},
		{"names", strange(t), false, settings("USD")}} {
		for _, f := range posting.Formats() {
			files, err := f.Write(entries(t, c.journal, c.Settings, c.accrual), c.Settings)
			if err != nil {
				t.Fatalf("%s, %s: %v", c.name, f.Name, err)
			}
			for _, file := range files {
				path := filepath.Join("testdata", c.name, file.Name)
				if *update {
					err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, file.Content, 0o644))
					if err != nil {
						t.Fatal(err)
					}
				}
				if want, err := os.ReadFile(path); err != nil || string(want) != string(file.Content) {
					t.Errorf("%s is otherwise (%v): -update, and read the difference\n%s", path, err, file.Content)
				}
			}
		}
	}
}

// names are texts that cost centres may be.
var names = rapid.OneOf(rapid.StringMatching(`[A-Z]{2}-[0-9]{4}`), rapid.String(),
	rapid.SampledFrom([]string{"=1+1", "a\nb", `"`, ";", "date:2020-01-01", "(unallocated)", "研究", "a;b\r\n", "  "}))

// Whatever is charged: each file of each format reads back, each document balances, the lines come to what is posted by
// account, ids are there once and the same whatever the amounts, and no limit is passed.
func TestWhatIsWrittenIsWhatIsPosted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"USD", "EUR", "JPY", "KWD"}).Draw(t, "currency")
		minor := schemas.MinorUnit(currency)
		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(12-minor)), nil)
		most := rapid.SampledFrom([]int{3, 20, 700}).Draw(t, "most")
		j := posting.Journal{Period: october(), Currency: currency, Credit: "2100"}
		for i := range rapid.IntRange(1, most).Draw(t, "lines") {
			cents := big.NewInt(rapid.Int64Range(-1_000_000, 9_000_000).Draw(t, "cents"))
			if rapid.IntRange(0, 5).Draw(t, "nothing") == 0 {
				cents = new(big.Int)
			}
			d := posting.Debit{Account: fmt.Sprint(6000 + i%7), CostCenter: names.Draw(t, "name") + fmt.Sprint(i),
				Amount: schemas.MoneyOf(new(big.Int).Mul(cents, unit))}
			d.Exact = d.Amount.Add(schemas.MoneyOf(big.NewInt(rapid.Int64Range(-400_000, 400_000).Draw(t, "rest"))))
			if rapid.IntRange(0, 3).Draw(t, "corrects") == 0 {
				d.Corrects = j.Period.From.Month() - 1
			}
			j.Debits, j.Credited = append(j.Debits, d), j.Credited.Sub(d.Amount)
		}
		accrual := rapid.Bool().Draw(t, "accrual")
		s := settings(currency)
		s.PostingDate = rapid.SampledFrom([]string{"", posting.NextMonth}).Draw(t, "posting date")
		all := entries(t, j, s, accrual)
		want := map[string]*big.Rat{} // by account and date
		ids := map[string]bool{}
		for _, e := range all {
			for _, l := range e.Lines {
				add(want, l.Account+" "+e.Date.String(), l.Amount.Rat())
				if ids[l.ID] {
					t.Fatalf("the id %s stands twice", l.ID)
				}
				ids[l.ID] = true
			}
		}
		doubled := j
		doubled.Debits = slices.Clone(j.Debits)
		doubled.Credited = j.Credited.Add(j.Credited)
		for i, d := range j.Debits {
			doubled.Debits[i].Amount = d.Amount.Add(d.Amount)
		}
		for i, e := range entries(t, doubled, s, accrual) {
			for k, l := range e.Lines {
				if l.ID != all[i].Lines[k].ID || e.ID != all[i].ID {
					t.Fatalf("other amounts, other ids: %+v", l)
				}
			}
		}
		for _, f := range posting.Formats() {
			files, err := f.Write(all, s)
			if minor > 2 && len(all) > 0 && (f.Name == "netsuite" || f.Name == "datev") {
				if !errors.As(err, new(*posting.Error)) {
					t.Fatalf("%s takes %s: %v", f.Name, currency, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			again, _ := f.Write(all, s)
			got := map[string]*big.Rat{}
			seen := map[string]bool{}
			for i, file := range files {
				if string(again[i].Content) != string(file.Content) || again[i].Name != file.Name {
					t.Fatalf("%s is another file the next time", file.Name)
				}
				lines, err := parse(f.Name, file)
				if err != nil {
					t.Fatalf("%s: %v\n%s", file.Name, err, file.Content)
				}
				if f.FileLines > 0 && len(lines) > f.FileLines && f.Name != "datev" {
					t.Fatalf("%s has %d lines", file.Name, len(lines))
				}
				balance, inEntry := map[string]*big.Rat{}, map[string]int{}
				for _, l := range lines {
					add(balance, l.document, l.amount)
					inEntry[l.document]++
					account := l.account
					if parts := strings.Split(account, ":"); len(parts) > 1 {
						account = parts[1]
					}
					add(got, account+" "+l.date, l.amount)
					if l.currency != currency || l.id == "" && f.Name != "datev" || l.id != "" && seen[l.id] {
						t.Fatalf("%s: %+v", file.Name, l)
					}
					seen[l.id] = true
				}
				for doc, sum := range balance {
					if sum.Sign() != 0 || f.EntryLines > 0 && f.Name != "datev" && inEntry[doc] > f.EntryLines {
						t.Fatalf("%s: %s has %d lines, and is off by %s", file.Name, doc, inEntry[doc], sum.FloatString(3))
					}
				}
			}
			for k, v := range want {
				if v.Sign() == 0 {
					continue
				}
				if got[k] == nil || got[k].Cmp(v) != 0 {
					t.Fatalf("%s: %s is %v, want %s", f.Name, k, got[k], v.FloatString(3))
				}
			}
		}
	})
}

func add(to map[string]*big.Rat, key string, v *big.Rat) {
	if to[key] == nil {
		to[key] = new(big.Rat)
	}
	to[key].Add(to[key], v)
}

// No two cost centres share an account of a plain-text ledger, whatever they are called.
func TestNoTwoNamesAreOneAccount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(names, rapid.StringMatching(`[Xx]?[-a-zA-Z0-9: &]{0,4}(--2[0-9a-f]-)?[-X]{0,3}`))
		a, b := part.Draw(t, "a"), part.Draw(t, "b")
		if a == b {
			return
		}
		paths := map[string]bool{}
		for _, name := range []string{a, b} {
			f, _ := posting.Find("hledger")
			files, err := f.Write(entries(t, posting.Journal{Period: october(), Currency: "USD", Credit: "2100",
				Credited: amount(t, "-1"), Debits: []posting.Debit{{Account: "6100", CostCenter: name, Amount: amount(t, "1")}}},
				posting.Settings{}, false), posting.Settings{})
			if err != nil {
				t.Fatal(err)
			}
			lines, err := parse("hledger", files[0])
			if err != nil {
				t.Fatal(err)
			}
			paths[lines[0].account] = true
		}
		if len(paths) != 2 {
			t.Fatalf("%q and %q are both %v", a, b, paths)
		}
	})
}

// hledger and ledger themselves read what is written for them, names that they stumble over included, and come to 0 in
// cents: the exact amounts beside change nothing of what they show.
func TestPlainTextLedgersReadTheirFiles(t *testing.T) {
	for _, program := range []string{"hledger", "ledger"} {
		path := installed(t, program)
		for _, name := range []string{"charge", "accrual", "names"} {
			suffix := map[bool]string{true: "-accrual"}[name == "accrual"]
			file := filepath.Join("testdata", name, "journal-2026-10-"+program+suffix+"."+program)
			run := func(args ...string) string {
				out, err := exec.CommandContext(t.Context(), path, append([]string{"-f", file}, args...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("%s %v: %v\n%s", program, args, err, out)
				}
				return string(out)
			}
			balance := run("balance", "--flat")
			lines := strings.Split(strings.TrimSpace(balance), "\n")
			if strings.TrimSpace(lines[len(lines)-1]) != "0" && name != "accrual" {
				t.Errorf("%s %s doesn't come to 0:\n%s", program, name, balance)
			}
			want := map[string]string{"charge": "297.57 USD", "names": "Expenses:6100:R--26-D"}[name]
			if !strings.Contains(balance, want) {
				t.Errorf("%s %s has no %s:\n%s", program, name, want, balance)
			}
			if strings.Contains(balance, "00000") ||
				run("balance", "--flat", "--begin", "2026-10-31", "--end", "2026-11-02") != balance {
				t.Errorf("%s %s takes a name for a date, or shows exact amounts:\n%s", program, name, balance)
			}
		}
	}
}

// A currency without cents, and one of a thousand, are shown with as many decimals as they have.
func TestPlainTextLedgersKeepACurrencysDecimals(t *testing.T) {
	for _, program := range []string{"hledger", "ledger"} {
		path := installed(t, program)
		f, _ := posting.Find(program)
		for currency, exact := range map[string][2]string{"JPY": {"1234.4", "1234"}, "KWD": {"1.0004", "1.000"}} {
			files, err := f.Write(entries(t, journal(t, currency, "6100|a|"+exact[0]+"|"+exact[1]), settings(""), false),
				settings(""))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), files[0].Name)
			if err := os.WriteFile(file, files[0].Content, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), path, "-f", file, "balance", "--flat").CombinedOutput()
			if err != nil || !strings.Contains(string(out), " "+exact[1]+" "+currency) {
				t.Errorf("%s of %s: %v\n%s", program, currency, err, out)
			}
		}
	}
}

// installed is where a program is; a test without it is skipped, but in CI.
func installed(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no %s, and CI is set", program)
		}
		t.Skip("no " + program)
	}
	return path
}

// What a ledger can't take is refused, with what to write; what a setting can't be, too.
func TestWhatALedgerCantTakeIsRefused(t *testing.T) {
	one := func(account, center, posted string) posting.Journal {
		return journal(t, "USD", account+"|"+center+"|"+posted+"|"+posted)
	}
	tracked := settings("USD")
	tracked.Xero.Tracking, tracked.SAP.CostCenters, tracked.DATEV.CostCenters = "Cost centre", true, true
	other := posting.Journal{Period: october(), Currency: "XX", Credit: "2100"}
	other.Debits, other.Credited = month(t).Debits, month(t).Credited
	nothing := other
	nothing.Currency = ""
	noCredit := one("6100", "CC-1", "5.00")
	noCredit.Credit = "(clearing)"
	for _, c := range []struct {
		format, says, hint string
		journal            posting.Journal
		settings           posting.Settings
	}{
		{"xero", "needs the tax rate", "journal: xero.tax_rate", month(t), posting.Settings{}},
		{"sap", "needs the company code", "journal: sap.company_code", month(t), posting.Settings{}},
		{"datev", "needs the tax adviser's number", "journal: datev.consultant", month(t), posting.Settings{}},
		{"datev", "the client's books are in EUR", "datev: currency", month(t), settings("")},
		{"datev", `at most 4 digits`, "accounts", one("61000", "CC-1", "5.00"), settings("USD")},
		{"datev", `at most 4 digits`, "accounts", one("AI", "CC-1", "5.00"), settings("USD")},
		{"datev", `a cost centre has at most 36`, "cost_centers: false", one("6100", "研究", "5.00"), tracked},
		{"datev", "10 digits before", "by hand", one("6100", "CC-1", "12345678901.00"), settings("USD")},
		{"netsuite", "10 digits before", "by hand", one("6100", "CC-1", "12345678901.00"), settings("USD")},
		{"sap", "G/L Account (10) has at most 10", "accounts", one("61000000001", "CC-1", "5.00"), settings("USD")},
		{"sap", "Cost Center (10) has at most 10 characters", "accounts", one("6100", "CC-12345678", "5.00"), tracked},
		{"xero", "a spreadsheet would compute", "accounts", one("6100", "=1+1", "5.00"), tracked},
		{"xero", "characters that can't be seen", "accounts", one("6100", "a\u202eb", "5.00"), tracked},
		{"odoo", "no account of the general ledger for CC-1", "gl_code", one("(none)", "CC-1", "5.00"), settings("USD")},
		{"hledger", "no account of the general ledger for the credit", "credit_gl_code", noCredit, settings("USD")},
		{"beancount", "no account of the general ledger for CC-1", "gl_code", one("(none)", "CC-1", "5.00"), settings("")},
		{"quickbooks", `in the currency "XX"`, "currency of the account", other, settings("")},
		{"ledger", `in the currency ""`, "currency of the account", nothing, settings("")},
	} {
		f, _ := posting.Find(c.format)
		files, err := f.Write(entries(t, c.journal, c.settings, false), c.settings)
		var refused *posting.Error
		if !errors.As(err, &refused) || !strings.Contains(refused.Message, c.says) ||
			!strings.Contains(refused.Hint, c.hint) || files != nil {
			t.Errorf("%s says %v (%+v), want %q and %q", c.format, err, refused, c.says, c.hint)
		}
	}
	off := month(t)
	off.Credited = off.Credited.Add(amount(t, "0.000000000001"))
	_, err := posting.Entries(off, settings(""), false)
	if err == nil || !strings.Contains(err.Error(), "doesn't balance") {
		t.Errorf("a journal that is off: %v", err)
	}
	if e := entries(t, journal(t, "USD", "6100|a|0.004|0.00"), settings(""), true); len(e) != 0 {
		t.Errorf("an entry of nothing: %+v", e)
	}
	bad := posting.Settings{Accounts: []posting.Account{{GLCode: "1"}, {GLCode: "2", Name: "a"}, {GLCode: "2", Name: "b"}},
		PostingDate: "today", Series: "ul", QuickBooks: posting.QuickBooks{DateFormat: "D.M.Y"},
		NetSuite: posting.NetSuite{CostCenter: "Dept"}, SAP: posting.SAP{CompanyCode: "12345", Type: "s", TaxCode: "V00"},
		DATEV: posting.DATEV{Consultant: 1, Client: 100_000, AccountLength: 3, FiscalYear: 13, Currency: "euro",
			TaxKey: "x"},
		PlainText: posting.PlainText{Debit: "expenses", Credit: "Liabilities:"}}
	var keys []string
	for _, m := range bad.Validate() {
		keys = append(keys, m.Key)
	}
	want := []string{"accounts[0]", "accounts[2]", "posting_date", "series", "quickbooks.date_format",
		"netsuite.cost_center", "sap.company_code", "sap.type", "sap.tax_code", "datev.consultant",
		"datev.client", "datev.account_length",
		"datev.fiscal_year", "datev.currency", "datev.tax_key", "plain_text.debit", "plain_text.credit"}
	if !slices.Equal(keys, want) {
		t.Errorf("mistakes in %v, want %v", keys, want)
	}
}

// A credit that is nothing isn't posted, and DATEV's postings are against its account all the same.
func TestDebitsThatBalanceNeedNoCredit(t *testing.T) {
	j := journal(t, "USD", "6100|a|5.00|5.00", "6200|b|-5.00|-5.00")
	for _, f := range posting.Formats() {
		files, err := f.Write(entries(t, j, settings("USD"), false), settings("USD"))
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		lines, err := parse(f.Name, files[0])
		if want := map[bool]int{true: 4, false: 2}[f.Name == "datev"]; err != nil || len(lines) != want {
			t.Errorf("%s: %v %v", f.Name, lines, err)
		}
	}
}

// Whoever sets a ledger up finds where its columns are written.
func TestTheDocsNameEveryLedgerAndItsSource(t *testing.T) {
	doc, err := os.ReadFile("../../docs/ledgers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range posting.Formats() {
		if !strings.Contains(string(doc), "| "+f.Ledger+" |") || !strings.Contains(string(doc), "("+f.Source+")") {
			t.Errorf("docs/ledgers.md has no row of %s with %s", f.Ledger, f.Source)
		}
	}
}

// A cost centre's part of an entry has its lines with the ids of the whole, balances by itself, and is another
// document: its id and the credit's are its own. The parts debit what the whole does.
func TestPartsOfAnEntryKeepTheIDsOfItsLines(t *testing.T) {
	s := settings("USD")
	whole := entries(t, month(t), s, false)
	seen, debited := map[string]bool{}, 0
	for _, e := range whole {
		seen[e.ID] = true
		for _, l := range e.Lines {
			seen[l.ID] = true
		}
	}
	of := map[string]bool{}
	for _, l := range whole[0].Lines {
		if l.Credit || of[l.CostCenter] {
			continue
		}
		of[l.CostCenter] = true
		for _, e := range posting.Of(whole, l.CostCenter, s) {
			sum := schemas.Money{}.In(e.Currency)
			for _, part := range e.Lines {
				sum = sum.Add(part.Amount)
				if part.Credit == seen[part.ID] || !part.Credit && part.CostCenter != l.CostCenter {
					t.Errorf("%s: %+v", l.CostCenter, part)
				}
				if !part.Credit {
					debited++
				}
				seen[part.ID] = true
			}
			if sum.Sign() != 0 || seen[e.ID] {
				t.Errorf("%s: the document %s comes to %s", l.CostCenter, e.ID, sum.Exact())
			}
			seen[e.ID] = true
		}
	}
	lines := 0
	for _, e := range whole {
		for _, l := range e.Lines {
			if !l.Credit {
				lines++
			}
		}
	}
	if debited != lines || len(of) < 2 {
		t.Errorf("%d lines of %d", debited, lines)
	}
	if none := posting.Of(whole, "nobody", s); len(none) != 0 {
		t.Errorf("%+v", none)
	}
}
