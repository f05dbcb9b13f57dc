package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/extract"
)

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usagelake.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func noEnv(string) string { return "" }

func hinted(err error) string {
	var h *Hint
	if errors.As(err, &h) {
		return h.Hint
	}
	return ""
}

func TestEveryMistakeInAConfigIsNamed(t *testing.T) {
	const account = "accounts:\n  - name: acme\n    key_env: K\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "is empty"},
		{"a comment alone", "# nothing\n", "is empty"},
		{"no YAML", "accounts: [", "config "},
		{"no mapping", "- a\n- b\n", "line 1: it is not a section with keys of its own"},
		{"no accounts", "lake: ./lake\n", "has no accounts"},
		{"an empty list", "accounts: []\n", "has no accounts"},
		{"two documents", account + "---\nlake: x\n", "more than one document"},
		{"unknown at the top", account + "lakes: ./x\n", "line 4: unknown key lakes: did you mean lake?"},
		{"unknown in an account", account + "    ratee: 1\n", "line 4: unknown key accounts[0].ratee: did you mean rate?"},
		{"unknown in export", account + "export:\n  lookbak: 1h\n",
			"line 5: unknown key export.lookbak: did you mean lookback?"},
		{"like nothing known", account + "    zzzzzzzz: 1\n", "(known here: base_url, billing, currency,"},
		{"a key where its name goes", account + "    key: sk_mg_x\n", "unknown key accounts[0].key"},
		{"twice", account + "lake: a\nlake: b\n", "lake stands twice"},
		{"twice in an account", account + "    name: b\n", "accounts[0].name stands twice"},
		{"no name", "accounts:\n  - key_env: K\n", "is not an account name"},
		{"a name that leaves the lake", "accounts:\n  - name: ../../etc\n    key_env: K\n", "is not an account name"},
		{"one name for two", account + "  - name: acme\n    key_env: L\n", "another account has it too"},
		{"a key in the clear", account + "    base_url: http://portal.example/x\n", "in the clear"},
		{"a host alone", account + "    base_url: https://portal.example\n", "is only a host"},
		{"a host with a slash", account + "    base_url: https://portal.example//\n", "is only a host"},
		{"an endpoint", account + "    base_url: https://portal.example/api/v1/portal/management/usage\n",
			"leave /usage away"},
		{"another, with a slash", account + "    base_url: https://portal.example/management/Balance/\n",
			"leave /Balance away"},
		{"a sign for a currency", account + "    currency: €\n", "three capital letters"},
		{"a currency in small letters", account + "    currency: usd\n", "three capital letters"},
		{"letters of another script", account + "    currency: ÄÖÜ\n", "three capital letters"},
		{"no URL", account + "    base_url: portal\n", "has no host"},
		{"another scheme", account + "    base_url: ftp://portal.example/\n", "is not http(s)"},
		{"a password in the URL", account + "    base_url: https://u:p@portal.example/\n", "user name or password"},
		{"a query in the URL", account + "    base_url: https://portal.example/?k=1\n", "query or a fragment"},
		{"two sources of the key", account + "    key_file: k\n", "key_env or key_file, not both"},
		{"no source of the key", account + "  - name: bee\n", "give key_env (a variable"},
		{"the key as a variable's name", "accounts:\n  - name: acme\n    key_env: sk_mg_0123456789abcdef\n",
			"key_env holds a key"},
		{"a negative rate", account + "    rate: -1\n", "between 0.001 and 1000 requests a second"},
		{"a huge rate", account + "    rate: 1e9\n", "between 0.001 and 1000 requests a second"},
		{"a rate that is no number", account + "    rate: .nan\n", "between 0.001 and 1000 requests a second"},
		{"text for a rate", account + "    rate: fast\n", `line 4: accounts[0].rate: "fast" is not a number`},
		{"a list for a name", "accounts:\n  - name: [a]\n    key_env: K\n", "line 2: accounts[0].name: it is not a text"},
		{"half a page", account + "    page_size: 2.5\n", `line 4: accounts[0].page_size: "2.5" is not a whole number`},
		{"text for a list", account + "invoices: i.csv\n", `line 4: invoices: "i.csv" is not a list: write [a, b]`},
		{"a list for a section", account + "export: [a]\n", "line 4: export: it is not a section with keys of its own"},
		{"too many at once", account + "    max_in_flight: 2000\n", "between 1 and 1000"},
		{"a negative number at once", account + "    max_in_flight: -1\n", "between 1 and 1000"},
		{"a huge page", account + "    page_size: 200000\n", "between 1 and 100000"},
		{"a currency", account + "    currency: Dollar\n", "is not an ISO 4217 code"},
		{"a small currency", account + "    currency: usd\n", "is not an ISO 4217 code"},
		{"a duration", account + "export:\n  settle: soon\n", `line 5: export.settle: "soon" is not a duration`},
		{"a negative duration", account + "export:\n  lookback: -72h\n", "is not a duration"},
		{"no day of records", account + "publish:\n  records: 0d\n",
			`line 5: publish.records: "0d" is neither all, none nor a number of days`},
		{"fewer days of records than none", account + "publish:\n  records: -1d\n",
			`line 5: publish.records: "-1d" is neither all, none nor a number of days`},
		{"some records", account + "publish:\n  records: some\n",
			`line 5: publish.records: "some" is neither all, none nor a number of days from 1d to 36525d: write 90d`},
		{"records of a number", account + "publish: {records: 90}\n", `line 4: publish.records: "90" is neither all`},
		{"lake_access", account + "lake_access: world\n", "lake_access"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := configFile(t, c.text)
			_, err := Load(Overrides{ConfigFile: path}, noEnv)
			if err == nil || !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v doesn't say %q, or is no usage error", err, c.want)
			}
			if err != nil && (!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "0123456789abcdef")) {
				t.Errorf("%v: it doesn't name the file, or shows the key", err)
			}
		})
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	_, err := Load(Overrides{ConfigFile: configFile(t,
		"accounts:\n  - name: A\n    key_env: K\n    rate: -1\n  - name: b\n    key_env: K\n    page_size: -1\n")}, noEnv)
	for _, want := range []string{"is not an account name", "accounts[0] (A): rate", "accounts[1] (b): page_size"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
	_, err = Load(Overrides{ConfigFile: configFile(t, "lak: x\naccounts:\n  - nam: a\nexport:\n  setle: 1m\n")}, noEnv)
	for _, want := range []string{"lak: did you mean lake?", "accounts[0].nam: did you mean name?",
		"export.setle: did you mean settle?"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
	// Keys that aren't known, and values of another type.
	_, err = Load(Overrides{ConfigFile: configFile(t,
		"lak: x\naccounts:\n  - name: a\n    rate: fast\nexport:\n  settle: soon\n  not_before: later\n")}, noEnv)
	for _, want := range []string{"line 1: unknown key lak", `line 4: accounts[0].rate: "fast" is not a number`,
		`line 6: export.settle: "soon" is not`,
		`line 7: export.not_before: "later" is not`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
}

// What can't be read and what can't be meant are told together, in order of the file. What may follow from a mistake
// alone isn't: the values beside it, and jobs and alerts, which go by names of other things.
func TestWhatCannotBeReadDoesNotHideWhatCannotBeMeant(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"beside each other", `lake_access: world
accounts:
  - {name: A, key_env: K}
  - {name: b, key_env: L, rate: fast, page_size: -1}
export: {settle: soon, refetch_at: [0s]}
prune: {raw: 1h}
schedule: {jobs: [{name: n, kind: exprt, cron: "0 2 * * *"}]}
`, `line 1: lake_access: "world" is neither
line 3: accounts[0] (A): name: "A" is not an account name
line 4: accounts[1].rate: "fast" is not a number
line 5: export.settle: "soon" is not a duration
line 6: prune.raw: 
line 7: schedule.jobs[0] (n): kind: "exprt" is none of`},
		{"a source of the key that is misspelt is no lack of one", `accounts:
  - {name: a, key_evn: K}
  - {name: b, key_env: L, page_size: -1}
`, `line 2: unknown key accounts[0].key_evn: did you mean key_env?
line 3: accounts[1] (b): page_size: -1`},
		{"a receiver that is misspelt isn't missed by a rule", `accounts: [{name: a, key_env: K}]
alerts:
  recievers: [{name: log, log: true}]
  rules: [{name: low, kind: balance, below: "10"}]
duckdb: {threads: -1}
`, `line 3: unknown key alerts.recievers: did you mean receivers?
line 5: duckdb.threads: -1`},
		{"a budget that is misspelt isn't missed by an alert", `accounts: [{name: a, key_env: K}]
budgts: [{name: q}]
alerts:
  receivers: [{name: log, log: true}]
  rules: [{name: q, kind: budget, budgets: [nobody]}]
lake_access: world
`, `line 2: unknown key budgts: did you mean budgets?
line 6: lake_access: `},
		{"no more of a value than its beginning, for it may be a secret", `accounts: [{name: a, key_env: K}]
alerts:
  receivers: https://hooks.example/services/secret
`, `line 3: alerts.receivers: "https:/…" is not a list`},
		{"another value on the line that begins alike isn't blamed", `accounts:
  - {name: a, key_env: hunter2, rate: hun}
`, `line 2: accounts[0].rate: "hun" is not a number`},
		{"text of several lines", `accounts:
  - name: a
    key_env: K
    rate: |
      fast
      er
`, `line 4: accounts[0].rate: "fast`},
		{"a number in quotes", `accounts: [{name: a, key_env: K, page_size: "2.5"}]
`, `line 1: accounts[0].page_size: "2.5" is not a whole number`},
		{"without accounts nothing else is said", "acounts: [{name: a}]\nlake_access: world\n",
			"line 1: unknown key acounts: did you mean accounts?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := configFile(t, c.text)
			_, err := Load(Overrides{ConfigFile: path}, noEnv)
			got := strings.Split(strings.TrimPrefix(fmt.Sprint(err), "config "+path+": "), "\n")
			want := strings.Split(c.want, "\n")
			if len(got) != len(want) {
				t.Fatalf("%v\nwant\n%s", err, c.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("%s; want %s", got[i], want[i])
				}
			}
		})
	}
}

// What is wrong with a value stands with the line of its key, or of the entry of a list that it belongs to.
func TestAMistakeHasItsLine(t *testing.T) {
	_, err := Load(Overrides{ConfigFile: configFile(t, `lake_access: world
accounts:
  - name: acme
    key_env: K
    rate: -1
duckdb: {memory: much}
prune:
  raw: 1h
schedule:
  zone: Mars/Olympus
  jobs:
    - {name: nightly, kind: export, cron: "0 2 * * *"}
    - name: Weekly
      kind: verify
      cron: "0 3 * * 0"
alerts:
  rules: [{name: r, kind: gap}]
close:
  max_unallocated: little
`)}, noEnv)
	for _, want := range []string{"line 1: lake_access:", "line 3: accounts[0] (acme): rate:", "line 6: duckdb.memory:",
		"line 8: prune.raw:", "line 10: schedule.zone", "line 13: schedule.jobs[1] (Weekly): name:", "line 17: alerts.rules:",
		"line 19: close.max_unallocated:"} {
		if err == nil || !strings.Contains(err.Error(), "\n"+want) && !strings.Contains(err.Error(), ".yaml: "+want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
}

func TestFlagBeatsEnvironmentBeatsConfigBeatsDefault(t *testing.T) {
	path := configFile(t, "lake: data\naccounts:\n  - name: acme\n    key_file: key\n    base_url: "+
		"https://a.example/v1\n  - name: bee\n    key_env: B\nexport:\n  settle: 5m\n  lookback: 2d\n  refetch_every: 0s\n")
	dir := filepath.Dir(path)
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for _, c := range []struct {
		name      string
		flags     Overrides
		env       map[string]string
		lake, url string
	}{
		{"config", Overrides{}, nil, filepath.Join(dir, "data"), "https://a.example/v1"},
		{"environment", Overrides{}, map[string]string{EnvLake: "/e", EnvBaseURL: "https://e.example/v1"}, "/e",
			"https://e.example/v1"},
		{"flag", Overrides{Lake: "/f", BaseURL: "https://f.example/v1"},
			map[string]string{EnvLake: "/e", EnvBaseURL: "https://e.example/v1"}, "/f", "https://f.example/v1"},
	} {
		c.flags.ConfigFile = path
		cfg, err := Load(c.flags, env(c.env))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if cfg.Lake != c.lake || cfg.Accounts[0].BaseURL != c.url || cfg.Accounts[0].KeyFile != filepath.Join(dir, "key") ||
			cfg.Path != path {
			t.Errorf("%s: %+v", c.name, cfg)
		}
		if c.name == "config" && cfg.Accounts[1].BaseURL != DefaultBaseURL {
			t.Errorf("%s: %+v", c.name, cfg.Accounts[1])
		}
		if !reflect.DeepEqual(cfg.Export,
			Export{Settle: Duration(5 * time.Minute), Lookback: Duration(48 * time.Hour),
				RefetchAt: DefaultExport().RefetchAt}) {
			t.Errorf("%s: %+v", c.name, cfg.Export)
		}
	}
	cfg, err := Load(Overrides{ConfigFile: path, Account: "bee"}, noEnv)
	if err != nil || len(cfg.Accounts) != 1 || cfg.Accounts[0].Name != "bee" {
		t.Errorf("--account: %+v, %v", cfg, err)
	}
	if _, err := Load(Overrides{ConfigFile: path, Account: "be"}, noEnv); !errors.Is(err, ErrUsage) ||
		!strings.Contains(err.Error(), "it has acme, bee") {
		t.Errorf("an account that isn't there: %v", err)
	}
	if _, err := Load(Overrides{ConfigFile: filepath.Join(dir, "none.yaml")}, noEnv); !errors.Is(err, ErrUsage) ||
		!errors.Is(err, fs.ErrNotExist) || !strings.Contains(hinted(err), "usagelake init") {
		t.Errorf("a file that isn't there: %v", err)
	}
}

func TestWithoutAConfigTheEnvironmentIsEnough(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := Load(Overrides{}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := Account{Name: DefaultAccount, KeyEnv: EnvKey, BaseURL: DefaultBaseURL}
	if len(cfg.Accounts) != 1 || cfg.Accounts[0] != want || cfg.Path != "" || filepath.Clean(cfg.Lake) != "lake" ||
		!reflect.DeepEqual(cfg.Export, DefaultExport()) {
		t.Errorf("%+v", cfg)
	}
	if _, err := cfg.Accounts[0].Key(noEnv); !errors.Is(err, ErrUsage) ||
		!strings.Contains(hinted(err), "export "+EnvKey) {
		t.Errorf("no key: %v", err)
	}
	if err := os.WriteFile(DefaultFile, []byte("accounts:\n  - name: here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err = Load(Overrides{}, noEnv); err != nil || cfg.Accounts[0].Name != "here" ||
		cfg.Accounts[0].KeyEnv != EnvKey {
		t.Errorf("the file in the working directory: %+v, %v", cfg, err)
	}
}

func TestAKeyFileIsReadByItsOwnerAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	key := "sk_mg_" + strings.Repeat("ab", 32)
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string // "" is fine
		hint string
	}{
		{key, 0o600, "", ""}, {key + "\r\n", 0o400, "", ""}, {"  " + key + "\n\n", 0o600, "", ""},
		{key, 0o640, "others can read", "chmod 600 " + path}, {key, 0o604, "others can read", "chmod 600 " + path},
		{key, 0o644, "0644", "chmod 600 " + path},
		{" \n", 0o600, "is empty", ""},
	} {
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(c.text), 0o600),
			os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		got, err := Account{Name: "a", KeyFile: path}.Key(noEnv)
		switch {
		case c.want == "" && (err != nil || got != key):
			t.Errorf("%q, mode %o: %v", c.text, c.mode, err)
		case c.want != "" && (!errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.want) || hinted(err) != c.hint ||
			strings.Contains(err.Error(), key)):
			t.Errorf("%q, mode %o: %v (hint %q)", c.text, c.mode, err, hinted(err))
		}
	}
	for _, bad := range []string{filepath.Join(dir, "none"), dir} {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := (Account{Name: "a", KeyFile: bad}).Key(noEnv); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What stands around a key is said before anything is sent, and the key is not.
func TestWhatStandsAroundAKeyIsSaid(t *testing.T) {
	const key = "sk_mg_0123456789abcdef"
	path := filepath.Join(t.TempDir(), "key")
	for _, x := range []struct{ text, want string }{
		{key, ""}, {key + "\n", ""}, {" " + key + "\r\n", ""}, {"\n" + key + "\n\n", ""},
		{`"` + key + `"`, "in quotes"}, {"'" + key + "'\r\n", "in quotes"}, {"“" + key + "”", "in quotes"},
		{key + `"`, "in quotes"},
		{"ACME_KEY=" + key, "NAME="}, {"export ACME_KEY = " + key + "\n", "NAME="}, {`KEY="` + key + `"`, "NAME="},
		{"# the key\r\n" + key + "\r\n", "more than one line"}, {key + "\n" + key, "more than one line"},
		{"\ufeff" + key, "byte order mark"}, {"\xff\xfes\x00k\x00", "UTF-16"}, {"Bearer " + key, "Bearer"},
		{"\r\n", "is empty"},
	} {
		if err := os.WriteFile(path, []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for where, a := range map[string]Account{"file": {Name: "acme", KeyFile: path},
			"environment": {Name: "acme", KeyEnv: "K"}} {
			if x.want == "is empty" && where == "environment" {
				continue
			}
			got, err := a.Key(func(string) string { return x.text })
			switch {
			case x.want == "" && (err != nil || got != key):
				t.Errorf("%q in the %s: %q, %v", x.text, where, got, err)
			case x.want != "" &&
				(!errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "0123")):
				t.Errorf("%q in the %s: %v, want %q", x.text, where, err, x.want)
			}
		}
	}
	for _, secret := range []string{"c2VjcmV0Cg==", "aGVsbG8=", "https://hooks.example/x?a=12345678901&b=2", `it"s`} {
		if got, err := hmacSecret("K", secret); err != nil || got != secret {
			t.Errorf("%q: %q, %v", secret, got, err)
		}
	}
}

// hmacSecret is a secret of the environment.
func hmacSecret(name, value string) (string, error) {
	return Secret("its webhook", "HMAC secret", name, "", func(string) string { return value })
}

func TestTimesOfTheCommandLine(t *testing.T) {
	at := time.Date(2026, 3, 1, 14, 30, 5, 999, time.FixedZone("X", 5*3600))
	for in, want := range map[string]string{
		"now": "2026-03-01T09:30:05Z", "today": "2026-03-01T00:00:00Z", "yesterday": "2026-02-28T00:00:00Z",
		"-7d": "2026-02-22T00:00:00Z", "-0d": "2026-03-01T00:00:00Z", "-12h": "2026-02-28T21:30:05Z",
		"-90m":       "2026-03-01T08:00:05Z",
		"2026-11-01": "2026-11-01T00:00:00Z", "2028-02-29": "2028-02-29T00:00:00Z",
		"2026-11-01T06:00:00Z": "2026-11-01T06:00:00Z", "2026-11-01T06:00:00.75+02:00": "2026-11-01T04:00:00Z",
	} {
		got, err := ParseTime(in, at)
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%s: %v, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "tomorrow", "7d", "-7", "-", "--7d", "-d", "2026-13-01", "2026-02-30",
		"2026-11-01 06:00", "1761955200", "-1.5d", "-999999999d", "-1e9h"} {
		if got, err := ParseTime(in, at); err == nil || !errors.Is(err, ErrUsage) {
			t.Errorf("%q is taken for %v (%v)", in, got, err)
		}
	}
}

func TestSizesAreWholeBytesInAnyCapitals(t *testing.T) {
	for in, want := range map[string]int64{"1": 1, "500000": 5e5, "99999999999": 99999999999,
		"9223372036854775807": math.MaxInt64, "007": 7,
		"2kB": 2000, "2KB": 2000, "2kb": 2000, "2mb": 2e6, "2MB": 2e6, "2 Mb": 2e6, "2mib": 2 << 20, "2MiB": 2 << 20,
		"1gB": 1e9, "8GIB": 8 << 30, "10B": 10} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%q is %d, want %d: %v", in, got, want, err)
		}
	}
	for in, what := range map[string]string{"": "a whole number above 0 of bytes, kB, MB", "0": "above 0", "-1": "above 0",
		"1.5MB": "whole number", "2QB": "kB, MB, GB", "MB": "whole number", "much": "whole number",
		"9223372036854775808": "is more than 9223372036854775807 bytes", "9223372036854776kB": "is more than",
		"99999999999GiB": "is more than"} {
		if got, err := ParseSize(in); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q is taken for %d (%v), want %q", in, got, err, what)
		}
	}
}

func TestDurationsKnowDays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 4000).Draw(t, "days")
		if got, err := ParseDuration(fmt.Sprintf("%dd", n)); err != nil || got != time.Duration(n)*24*time.Hour {
			t.Fatalf("%dd: %v, %v", n, got, err)
		}
		d := time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "d"))
		if got, err := ParseDuration(d.String()); err != nil || got != d {
			t.Fatalf("%s: %v, %v", d, got, err)
		}
	})
}

func TestHintAndUsageErrorsCanBeToldApart(t *testing.T) {
	err := fmt.Errorf("outer: %w", Usage("type this", "bad: %w", extract.ErrPermanent))
	if !errors.Is(err, ErrUsage) || !errors.Is(err, extract.ErrPermanent) || hinted(err) != "type this" {
		t.Errorf("%v", err)
	}
	if errors.Is(errors.New("x"), ErrUsage) || hinted(Usage("", "x")) != "" {
		t.Error("what is no usage error is taken for one")
	}
}

func TestKeysAreThoseOfTheFile(t *testing.T) {
	keys := Keys()
	for _, want := range []string{"lake", "lake_access", "accounts", "accounts.key_env", "export.settle"} {
		if !slices.Contains(keys, want) {
			t.Errorf("%v has no %s", keys, want)
		}
	}
}
