package compat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// counted is a line of python/ledgers.py.
type counted struct {
	Version                                         string
	Errors, Left                                    []string
	Transactions, Postings, IDs, Accounts, Decimals int
	Debited                                         map[string]string
}

// Beancount itself reads what is written for it without an objection: names that it has no letters for, months side by
// side, and the journal of a lake, whose credit is what the program's own query says.
func TestBeancountReadsTheJournal(t *testing.T) {
	python := environment(t, "ledgers")
	ask := func(files ...string) (c counted) {
		if err := json.Unmarshal(output(t, python, append([]string{"python/ledgers.py"}, files...)...), &c); err != nil {
			t.Fatal(err)
		}
		if len(c.Errors)+len(c.Left) > 0 || c.IDs != c.Postings || c.Postings == 0 || c.Decimals != 2 {
			t.Errorf("%v: %+v", files, c)
		}
		return c
	}
	for name, accounts := range map[string]int{"charge": 5, "accrual": 5, "names": 24} {
		files, err := filepath.Glob("../../load/posting/testdata/" + name + "/*.beancount")
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v %v", name, files, err)
		}
		path, err := filepath.Abs(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if c := ask(path); c.Accounts != accounts {
			t.Errorf("%s has %d accounts, want %d", name, c.Accounts, accounts)
		}
	}
	dir, _ := lake(t)
	program := os.Getenv("USAGELAKE_COMPAT_BIN")
	to := t.TempDir()
	closed := strings.Fields(string(output(t, program, "query", "--lake", dir, "--format", "csv",
		`SELECT strftime("month", '%Y-%m') AS m FROM closed_months`)))[1]
	open := strings.Fields(string(output(t, program, "query", "--lake", dir, "--format", "csv",
		`SELECT strftime(current_month, '%Y-%m') AS m FROM data_as_of`)))[1]
	files := []string{filepath.Join(to, "closed.beancount"), filepath.Join(to, "open.beancount")}
	output(t, program, "report", "journal", "--lake", dir, "--month", closed, "--out", files[0])
	output(t, program, "report", "journal", "--lake", dir, "--month", open, "--accrual", "--out", files[1])
	one := ask(files[0])
	posted := strings.Fields(string(output(t, program, "query", "--lake", dir, "--format", "csv",
		`SELECT (-posted)::DECIMAL(38,2) AS p FROM chargeback_journal
			WHERE entry = 'credit' AND strftime("month", '%Y-%m') = '`+closed+`'`)))[1]
	if one.Debited["USD"] != posted || one.Transactions != 1 {
		t.Errorf("%+v, posted are %s", one, posted)
	}
	if both := ask(files...); both.Transactions != 3 {
		t.Errorf("%+v", both)
	}
}
