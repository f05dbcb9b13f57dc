package compat

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// expected is what a reader is to find in a lake: sums in units of 10⁻¹², as text.
type expected struct {
	Count   int64             `json:"count"`
	Items   int64             `json:"items"`
	Null    int64             `json:"null"`  // custom_user_id
	Empty   int64             `json:"empty"` // the same
	Sum     string            `json:"sum"`
	ItemSum string            `json:"item_sum"`
	By      map[string]string `json:"accounts"`
	Days    map[string]string `json:"days"` // those whose sum isn't 0
}

// call is a record as the Portal lists it.
type call struct {
	at     time.Time
	amount string  // "" is null
	custom *string // nil is left out
	items  []string
}

func (c call) json(id int) string {
	amount, custom := c.amount, ""
	if amount == "" {
		amount = "null"
	}
	if c.custom != nil {
		custom = fmt.Sprintf(`"custom_user_id":%q,`, *c.custom)
	}
	ext := ""
	for i, a := range c.items {
		ext += fmt.Sprintf(`,"tool_%d":{"unit":"each","price":%s,"usage":1,"amount":%s}`, i, a, a)
	}
	if ext != "" {
		ext = `"tools":{` + ext[1:] + `}`
	}
	if len(c.items) > 0 || c.custom == nil {
		ext = `"ext":{` + ext + `},`
	}
	return fmt.Sprintf(`{"id":"%d","request_time":%d,%s%s"token_id":"0042","user_id":"7","model":"m-%d",`+
		`"model_type":"text","input_token":1200,"output_token":34,"input_price":3,"output_price":15,"total_amount":%[6]s,`+
		`"discount_amount":null,"amount":%[6]s,"channel_id":1}`,
		1000+id, c.at.Unix(), custom, ext, id%3, amount)
}

// changing is a lake, and the Portal that it is exported from, whose records can be others the next time.
type changing struct {
	dir string // where usagelake.yaml and lake/ are
	env []string
	mu  sync.Mutex
	of  map[string][]call // by account
}

// lake is the lake's directory.
func (l *changing) lake() string { return filepath.Join(l.dir, "lake") }

// set gives an account other records.
func (l *changing) set(account string, calls []call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[account] = calls
}

// run runs the program beside the config, and returns what it says.
func (l *changing) run(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command(os.Getenv("USAGELAKE_COMPAT_BIN"), args...)
	c.Dir, c.Env = l.dir, l.env
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// portal serves the records of each key's account, newest first, in pages of a hundred.
func (l *changing) portal(t *testing.T, accounts map[string]string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		calls := l.of[accounts[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]]
		l.mu.Unlock()
		data := `{"balance":1,"balance_str":"1","coupon_balance":0,"currency_code":"USD","credit_limit":0,` +
			`"total_coupon_amount":0}`
		if strings.HasSuffix(r.URL.Path, "/usage") {
			q := r.URL.Query()
			from, _ := strconv.ParseInt(q.Get("start_time"), 10, 64)
			to, _ := strconv.ParseInt(q.Get("end_time"), 10, 64)
			page, _ := strconv.Atoi(q.Get("page"))
			var list []string
			for i := len(calls) - 1; i >= 0; i-- {
				if at := calls[i].at.Unix(); from <= at && at < to {
					list = append(list, calls[i].json(i))
				}
			}
			total := len(list)
			first := min(max(page-1, 0)*100, total)
			data = fmt.Sprintf(`{"list":[%s],"total":%d}`, strings.Join(list[first:min(first+100, total)], ","), total)
		}
		_, _ = fmt.Fprintf(w, `{"meta":{"code":0,"message":"","request_id":"r"},"data":%s}`, data)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// changingLake exports the records of accounts, by name, of ten days of October 2026.
func changingLake(t *testing.T, accounts map[string][]call) *changing {
	l := &changing{dir: t.TempDir(), env: os.Environ(), of: maps.Clone(accounts)}
	keys := map[string]string{}
	url := l.portal(t, keys)
	config := "lake: lake\naccounts:\n"
	for name := range accounts {
		key := fmt.Sprintf("sk_mg_%064x", len(keys)+1)
		keys[key] = name
		l.env = append(l.env, fmt.Sprintf("KEY_%d=%s", len(keys), key))
		config += fmt.Sprintf("  - {name: %q, base_url: %s, key_env: KEY_%d, rate: 900}\n", name, url, len(keys))
	}
	if err := os.WriteFile(filepath.Join(l.dir, "usagelake.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l.run(t, "export", "--quiet", "--from", "2026-10-01", "--to", "2026-10-11")
	return l
}

// lakeOf is such a lake, and what a reader is to find in it.
func lakeOf(t *testing.T, accounts map[string][]call) (string, expected) {
	return changingLake(t, accounts).lake(), expectedOf(t, accounts)
}

// expectedOf is what a reader is to find in a lake of these accounts.
func expectedOf(t *testing.T, accounts map[string][]call) expected {
	sum, itemSum := new(big.Int), new(big.Int)
	want := expected{By: map[string]string{}, Days: map[string]string{}}
	days := map[string]*big.Int{}
	for name, calls := range accounts {
		of := new(big.Int)
		for _, c := range calls {
			want.Count++
			if c.custom == nil {
				want.Null++
			} else if *c.custom == "" {
				want.Empty++
			}
			u := units(t, c.amount)
			of.Add(of, u)
			day := c.at.Format(time.DateOnly)
			if days[day] == nil {
				days[day] = new(big.Int)
			}
			days[day].Add(days[day], u)
			for _, a := range c.items {
				want.Items++
				itemSum.Add(itemSum, units(t, a))
			}
		}
		sum.Add(sum, of)
		want.By[name] = of.String()
	}
	for day, u := range days {
		if u.Sign() != 0 {
			want.Days[day] = u.String()
		}
	}
	want.Sum, want.ItemSum = sum.String(), itemSum.String()
	return want
}

// units reads an amount in units of 10⁻¹²; "" is none.
func units(t *testing.T, s string) *big.Int {
	t.Helper()
	if s == "" {
		return new(big.Int)
	}
	whole, frac, _ := strings.Cut(s, ".")
	u, ok := new(big.Int).SetString(whole+frac+strings.Repeat("0", 12-len(frac)), 10)
	if !ok {
		t.Fatalf("%q is no amount", s)
	}
	return u
}

func at(day, second int) time.Time { return time.Date(2026, 10, day, 0, 0, second, 0, time.UTC) }

func text(s string) *string { return &s }

// accountsLake has accounts whose names look like numbers, and days without a row.
func accountsLake(t *testing.T) (string, expected) { return lakeOf(t, someAccounts()) }

func someAccounts() map[string][]call {
	accounts := map[string][]call{}
	for i, name := range []string{"acme", "2026", "0042"} {
		for n := range 250 {
			day := 1 + (n*7+i)%10
			if day == 3+i { // a day without any
				continue
			}
			accounts[name] = append(accounts[name], call{at: at(day, n*31), amount: fmt.Sprintf("%d.%012d", n%4, 7919*n*n+i),
				custom: text("user-" + strconv.Itoa(n%5))})
		}
	}
	return accounts
}

// edgesLake has refunds, what is NULL beside what is empty, items, and amounts of all digits up to the most that the
// type holds.
func edgesLake(t *testing.T) (string, expected) {
	var calls []call
	for n, amount := range []string{"999999.999999999999", "-999999.999999999999", "0.000000000001", "-0.000000000001",
		"0", "", "123456.789012345678",
		"999999.999999999999", "-0.5", "0.1", "0.2", "0.3", "1.005", "49.625", "0.000000268435", "0.000000536871",
		"-268.435456789012"} {
		c := call{at: at(2+n%3, 1000+n), amount: amount, custom: text("")}
		switch n % 4 {
		case 0:
			c.custom = nil
		case 1:
			c.items = []string{"0.003", "999999.999999999999"}
		case 2:
			c.custom = text("null")
		}
		calls = append(calls, c)
	}
	return lakeOf(t, map[string][]call{"edge": calls})
}

// demoLake is the program's own demo, as it says itself what is in it.
func demoLake(t *testing.T) (string, expected) {
	dir, _ := lake(t)
	ask := func(query string, into any) {
		c := exec.Command(os.Getenv("USAGELAKE_COMPAT_BIN"), "query", "--lake", dir, "--format", "json", query)
		c.Stderr = os.Stderr
		out, err := c.Output()
		if err == nil {
			err = json.Unmarshal(out, into)
		}
		if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	}
	var totals []expected
	ask(`SELECT count(*) AS count, coalesce(sum(len(ext_items)), 0)::BIGINT AS items,
		count(*) FILTER (custom_user_id IS NULL) AS "null",
		count(*) FILTER (custom_user_id = '') AS empty, replace(sum(amount)::VARCHAR, '.', '') AS sum,
		(SELECT replace(sum(e.amount)::VARCHAR, '.', '') FROM (SELECT unnest(ext_items) AS e FROM usage)) AS item_sum
		FROM usage`, &totals)
	want := totals[0]
	for column, into := range map[string]*map[string]string{"account": &want.By, "usage_date": &want.Days} {
		var rows []struct{ Key, Sum string }
		ask("SELECT "+column+"::VARCHAR AS key, replace(sum(amount)::VARCHAR, '.', '') AS sum FROM usage GROUP BY 1", &rows)
		*into = map[string]string{}
		for _, r := range rows {
			(*into)[r.Key] = r.Sum
		}
	}
	trim := func(s string) string { u, _ := new(big.Int).SetString(s, 10); return u.String() }
	want.Sum, want.ItemSum = trim(want.Sum), trim(want.ItemSum)
	for _, m := range []map[string]string{want.By, want.Days} {
		for k, v := range m {
			m[k] = trim(v)
		}
	}
	return dir, want
}
