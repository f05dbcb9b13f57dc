package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// named gives the checks of a name.
func named(checks []Check, name string) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.Name != name })
}

// oneOf wants a check of that name, verdict and text, with a hint that holds hint.
func oneOf(t *testing.T, checks []Check, name, verdict, say, hint string) {
	t.Helper()
	found := named(checks, name)
	for _, c := range found {
		if c.Verdict == verdict && strings.Contains(c.Detail, say) && strings.Contains(c.Hint, hint) {
			return
		}
	}
	t.Errorf("want %s %s: %q → %q\nhave %+v of %d checks", verdict, name, say, hint, found, len(checks))
}

func TestDoctorFindsMistakesOfAKey(t *testing.T) {
	two := []portal.OrgOptions{{ID: "0", RecordsPerDay: 50}, {ID: "beta", RecordsPerDay: 50}}
	for _, c := range []struct {
		name                string
		set                 func(w *world)
		check, verdict, say string
		hint                string
	}{
		{"accepted", nil, "acme: accepted", CheckOK, "active", ""},
		{"from where", nil, "acme: key", CheckOK, "the variable KEY_0", ""},
		{"key file", func(w *world) {
			a := &w.Cfg.Accounts[0]
			a.KeyFile, a.KeyEnv = kit.Write(w, filepath.Join(w.TempDir(), "key"), w.Keys["KEY_0"]+"\n", 0o600), ""
		}, "acme: key", CheckOK, "/key", ""},
		{"key file that others read", func(w *world) {
			a := &w.Cfg.Accounts[0]
			a.KeyFile, a.KeyEnv = kit.Write(w, filepath.Join(w.TempDir(), "key"), w.Keys["KEY_0"], 0o644), ""
		}, "acme: key", CheckFailed, "others can read", "chmod 600"},
		{"twins", func(w *world) { w.Keys["KEY_beta"] = w.Keys["KEY_0"] }, "beta: key", CheckFailed, "account acme",
			"a key of its own"},
		{"one key, two addresses", func(w *world) {
			w.Keys["KEY_beta"] = w.Keys["KEY_0"]
			w.Cfg.Accounts[1].BaseURL = "https://other.test" + portal.BasePath
		}, "beta: key", CheckWarning, "another address", "base_url"},
		{"disabled", func(w *world) { _ = w.Portal.DisableKey(w.Keys["KEY_0"]) }, "acme: usage:read", CheckFailed,
			"doesn't accept", "Enable it"},
		{"expired", func(w *world) { _ = w.Portal.ExpireKey(w.Keys["KEY_0"], w.Now().Add(-time.Hour)) }, "acme: usage:read",
			CheckFailed, "401", "expired"},
		{"no scope for usage", func(w *world) { _ = w.Portal.SetScopes(w.Keys["KEY_0"], portal.ScopeBalance) },
			"acme: usage:read", CheckFailed, "nothing can be exported", "the scope usage:read"},
		{"no scope for the balance", func(w *world) { _ = w.Portal.SetScopes(w.Keys["KEY_0"], portal.ScopeUsage) },
			"acme: balance:read", CheckWarning, "do without", "set currency:"},
		{"no scope, but known all the same", func(w *world) { _ = w.Portal.SetScopes(w.Keys["KEY_0"], portal.ScopeBalance) },
			"acme: accepted", CheckOK, "", ""},
		{"another currency", func(w *world) { w.Cfg.Accounts[0].Currency = "EUR" }, "acme: balance:read", CheckWarning,
			"the config says EUR", "correct currency"},
		{"a line break within", func(w *world) { w.Keys["KEY_0"] = "sk_mg_a b" }, "acme: key", CheckFailed, "a space",
			"copy"},
		{"ahead", func(w *world) { w.Faults("skew=-10m") }, "acme: clock", CheckWarning, "10m0s ahead", "NTP"},
		{"behind", func(w *world) { w.Faults("skew=10m") }, "acme: clock", CheckWarning, "behind", "NTP"},
		{"no answer", func(w *world) { w.Faults("reset=1") }, "acme: API", CheckFailed, "reset", "HTTPS_PROXY"},
	} {
		kit.Bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Orgs: two})
			if c.set != nil {
				c.set(w)
			}
			checks := Examine(t.Context(), w.Cfg, w.env, Options{})
			oneOf(t, checks, c.check, c.verdict, c.say, c.hint)
			for _, key := range w.Keys {
				if strings.Contains(fmt.Sprintf("%+v", checks), key) {
					t.Error("a key is shown")
				}
			}
			for _, k := range checks {
				if k.Verdict != CheckOK && k.Hint == "" {
					t.Errorf("it isn't said what to do: %+v", k)
				}
			}
		})
	}
}

func TestDoctorHoldsTheRateLimit(t *testing.T) {
	kit.Bubble(t, "alone", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Limited: true})
		began := time.Now()
		checks := Examine(t.Context(), w.Cfg, w.env, Options{})
		oneOf(t, checks, "acme: rate limit", CheckOK, "6 requests at 1.95 a second, none refused", "")
		if n := len(w.Requests()); n != 6 {
			t.Errorf("%d requests", n)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	kit.Bubble(t, "another on the key", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "status-429=1,from=3,to=4"})
		w.Cfg.Accounts[0].Rate = 0
		oneOf(t, Examine(t.Context(), w.Cfg, w.env, Options{}), "acme: rate limit", CheckWarning, "answered by 429",
			"another program uses this key")
		if n := len(w.Requests()); n > 8 {
			t.Errorf("%d requests", n)
		}
	})
	kit.Bubble(t, "too fast", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "status-429=1,from=3,to=4"})
		w.Cfg.Accounts[0].Rate = 20
		oneOf(t, Examine(t.Context(), w.Cfg, w.env, Options{}), "acme: rate limit", CheckWarning,
			"the config has 20 a second", "rate: 1.95")
	})
	kit.Bubble(t, "429 without end", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "status-429=1"})
		w.Cfg.Accounts[0].Rate = 0
		began := time.Now()
		oneOf(t, Examine(t.Context(), w.Cfg, w.env, Options{}), "acme: rate limit", CheckWarning, "429", "another program")
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

func TestDoctorOfflineAsksNothing(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	checks := Examine(t.Context(), w.Cfg, w.env, Options{Offline: true})
	oneOf(t, checks, "acme: API", CheckOK, "--offline", "")
	if n := len(w.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestDoctorLooksAtOneAccountOnly(t *testing.T) {
	w := newWorld(t, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0"}, {ID: "beta"}}})
	w.Keys["KEY_beta"] = w.Keys["KEY_0"]
	checks := Examine(t.Context(), w.Cfg, w.env, Options{Offline: true, Account: "beta"})
	oneOf(t, checks, "beta: key", CheckFailed, "account acme", "")
	if c := named(checks, "acme: key"); len(c) > 0 {
		t.Errorf("%+v", c)
	}
}

func TestDoctorLooksAtTheSchedule(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.export(span(19, 20))
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport, Cron: "30 2 * * *",
		Zone: "Europe/Berlin"}, {Name: "soon", Kind: config.KindVerify, Cron: "45 11 * * *"}}
	if err := errors.Join(w.Cfg.Schedule.Validate(w.Cfg.AccountNames())...); err != nil {
		t.Fatal(err)
	}
	checks := Examine(t.Context(), w.Cfg, w.env, Options{Offline: true})
	oneOf(t, checks, "nightly", CheckWarning, "due for 2026-11-20 02:30 CET", "usagelake schedule")
	oneOf(t, checks, "soon", CheckOK, "verify, next at 2026-11-20 11:45 UTC", "")
	oneOf(t, checks, "listen", CheckOK, "no token", "")
	oneOf(t, checks, "alerts", CheckWarning, "nobody is told", "alerts:")
	w.Cfg.Schedule.TokenEnv = "TOKEN"
	w.Keys["TOKEN"] = "short"
	oneOf(t, Examine(t.Context(), w.Cfg, w.env, Options{Offline: true}), "token", CheckFailed, "shorter than 16",
		"openssl")
}

func TestDoctorFindsMistakesOfTheConfig(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.export(span(19, 20))
	dir := t.TempDir()
	for _, c := range []struct {
		name                string
		set                 func(cfg *config.Config)
		check, verdict, say string
		hint                string
	}{
		{"well", func(*config.Config) {}, "export", CheckOK, "settle 10m", ""},
		{"well", func(*config.Config) {}, "accounts", CheckOK, "the same", ""},
		{"anybody writes it", func(c *config.Config) { c.Path = kit.Write(t, filepath.Join(dir, "open.yaml"), "", 0o666) },
			"config", CheckWarning, "anybody", "chmod o-w"},
		{"rate", func(c *config.Config) { c.Accounts[0].Rate = 5 }, "acme: rate", CheckWarning, "5 requests a second",
			"1.95"},
		{"in flight", func(c *config.Config) { c.Accounts[0].MaxInFlight = 50 }, "acme: max_in_flight", CheckWarning,
			"50", "20"},
		{"small pages", func(c *config.Config) { c.Accounts[0].PageSize = 10 }, "acme: page_size", CheckWarning, "10 times",
			"leave it out"},
		{"loopback", func(c *config.Config) { c.Accounts[0].BaseURL = "http://127.0.0.1:1" + portal.BasePath },
			"acme: base_url", CheckWarning, "simulated", "leave base_url out"},
		{"path", func(c *config.Config) { c.Accounts[0].BaseURL = "https://portal.test/api" }, "acme: base_url", CheckWarning,
			"/management", config.DefaultBaseURL},
		{"settle", func(c *config.Config) { c.Export.Settle = 0 }, "export.settle", CheckWarning, "0s", "10m"},
		{"long settle", func(c *config.Config) { c.Export.Settle = config.Duration(48 * time.Hour) }, "export.settle",
			CheckWarning, "that old", "10m"},
		{"lookback", func(c *config.Config) { c.Export.Lookback = 0 }, "export.lookback", CheckWarning, "never noticed",
			"72h"},
		{"refetch", func(c *config.Config) { c.Export.RefetchAt = nil }, "export.refetch_at", CheckWarning, "count alone",
			"48h"},
		{"a new account", func(c *config.Config) {
			c.Accounts = append(c.Accounts,
				config.Account{Name: "newer", KeyEnv: "K"})
		}, "accounts", CheckWarning, "nothing of newer", "--account newer"},
		{"a renamed account", func(c *config.Config) { c.Path = "c.yaml"; c.Accounts[0].Name = "other" }, "accounts",
			CheckWarning, "holds acme", "old name"},
		{"rules that aren't there", func(c *config.Config) { c.Allocation.Rules = filepath.Join(dir, "none.yaml") },
			"allocation rules", CheckFailed, "none.yaml", "ends with 2"},
		{"rules that can't be read", func(c *config.Config) {
			c.Allocation.Rules = kit.Write(t, filepath.Join(dir, "bad.yaml"), "version: 1\nrulez: []\n", 0o600)
		}, "allocation rules", CheckFailed, "rulez", "allocation check"},
		{"rules that never match", func(c *config.Config) {
			c.Allocation.Rules = kit.Write(t, filepath.Join(dir, "idle.yaml"),
				"version: 1\nrules:\n  - {id: idle, match: {model: nosuch}, assign: {cost_center: X}}\n", 0o600)
		}, "allocation rules", CheckWarning, "idle", "allocation check"},
		{"a signing key that others can read", func(c *config.Config) {
			c.Close.SSHKey = kit.Write(t, filepath.Join(dir, "open"), "x", 0o644)
		}, "close.ssh_key", CheckFailed, "others can read", "chmod 600"},
		{"no signing key", func(c *config.Config) {
			c.Close.SSHKey = kit.Write(t, filepath.Join(dir, "none"), "x", 0o600)
		}, "close.ssh_key", CheckFailed, "no private key", "no month is closed"},
		{"books of a zone", func(c *config.Config) { c.Books = config.Books{Zone: "Asia/Tokyo", FiscalYear: 4} }, "books",
			CheckOK, "calendar months, the year from April, Asia/Tokyo", ""},
		{"a file of periods that ends", func(c *config.Config) {
			c.Books = config.Books{Calendar: kit.Write(t, filepath.Join(dir, "periods.csv"),
				"period,from,to\n2026-P11,2026-11-01,2026-12-01\n", 0o600)}
		}, "books", CheckWarning, "2026-P11 ends before 2026-12-01", "periods.csv"},
		{"a budget to come", func(c *config.Config) {
			c.Budgets = []config.Budget{{Name: "b", Amount: "1", Currency: "USD", From: "2030-01-01"}}
		}, "budgets", CheckWarning, "begins on 2030-01-01", "budgets:"},
		{"budgets that are over", func(c *config.Config) {
			c.Budgets = []config.Budget{{Name: "b", Amount: "1", Currency: "USD", To: "2026-01-01"}}
		}, "budgets", CheckWarning, "none is in force", "to:"},
		{"a mark-up for nobody", func(c *config.Config) {
			c.Markups = []config.Markup{{CostCenter: "nosuch", Percent: "1"}}
		}, "markups", CheckWarning, "nothing was ever charged", "report"},
		{"a budget for nobody", func(c *config.Config) {
			c.Budgets = []config.Budget{{Name: "b", Amount: "1", Currency: "USD", Model: "nosuch"}}
		}, "budgets", CheckWarning, "nothing was ever charged", "report"},
		{"a budget for no environment", func(c *config.Config) {
			c.Budgets = []config.Budget{{Name: "b", Amount: "1", Currency: "USD", Environment: "staging"}}
		}, "budgets", CheckWarning, `"b" is for environment "staging", to which nothing was ever charged`, "report"},
		{"a budget for no team", func(c *config.Config) {
			c.Budgets = []config.Budget{{Name: "b", Amount: "1", Currency: "USD", Team: "Search"}}
		}, "budgets", CheckWarning, `"b" is for team "Search", to which nothing was ever charged`, "report"},
		{"a budget in other money",
			func(c *config.Config) { c.Budgets = []config.Budget{{Name: "b", Amount: "1", Currency: "CHF"}} }, "budgets",
			CheckWarning, "in CHF", "report"},
		{"a good budget", func(c *config.Config) {
			c.Budgets = []config.Budget{{Name: "b", Amount: "1", Currency: "USD", Account: "acme"}}
		}, "budgets", CheckOK, "1 in force", ""},
		{"an invoice that isn't there", func(c *config.Config) { c.Invoices = []string{filepath.Join(dir, "none.csv")} },
			"invoices", CheckFailed, "none.csv", "ends with 2"},
		{"an invoice that can't be read", func(c *config.Config) {
			c.Invoices = []string{kit.Write(t, filepath.Join(dir, "bad.csv"), "invoice,what\n", 0o600)}
		}, "invoices", CheckFailed, "no column amount", "correct the file"},
		{"an invoice of somebody else", func(c *config.Config) {
			c.Invoices = []string{kit.Write(t, filepath.Join(dir, "other.csv"),
				"invoice,period,account,amount,currency\n1,2026-10,nobody,1,USD\n", 0o600)}
		}, "invoices", CheckWarning, "nobody", "as in the config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := *w.Cfg
			cfg.Accounts = slices.Clone(cfg.Accounts)
			cfg.Accounts[0].PageSize = 0
			c.set(&cfg)
			oneOf(t, Examine(t.Context(), &cfg, w.env, Options{Offline: true}), c.check, c.verdict, c.say, c.hint)
		})
	}
}

func TestDoctorTellsOfVariablesThatSurprise(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	w.Cfg.Path = kit.Write(t, filepath.Join(t.TempDir(), "c.yaml"), "", 0o600)
	w.Keys[config.EnvKey], w.Keys[config.EnvLake] = "sk_mg_x", "elsewhere"
	checks := Examine(t.Context(), w.Cfg, w.env, Options{Offline: true})
	oneOf(t, checks, "environment", CheckWarning, "no account of the config reads it", "unset")
	oneOf(t, checks, "environment", CheckOK, config.EnvLake+" stands above", "")
}

func TestDoctorLooksAtTheLake(t *testing.T) {
	// Now, for the lock is held since now, but not before yesterday is whole: what has not settled isn't exported.
	now := time.Now().UTC()
	today := schemas.DateOf(now)
	if settled := today.Start().Add(config.DefaultSettle + time.Minute); now.Before(settled) {
		now = settled
	}
	w := newWorld(t, kit.Settings{PerDay: 20, At: now})
	w.export(jobs.Span{From: (today - 2).Start()})
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	look := func() []Check { return Examine(t.Context(), w.Cfg, w.env, Options{Offline: true}) }
	checks := look()
	oneOf(t, checks, "lake: lock", CheckOK, "free", "")
	oneOf(t, checks, "lake: access", CheckOK, "private", "")
	oneOf(t, checks, "lake: disk", CheckOK, "a day (last 2 days)", "")
	oneOf(t, checks, "lake: published", CheckOK, "by usagelake test", "")
	oneOf(t, checks, "acme", CheckOK, "without a gap", "")
	oneOf(t, checks, "last export", CheckOK, "done", "")
	oneOf(t, checks, "versions", CheckOK, "Parquet by arrow-go v18", "")
	for _, c := range checks {
		if c.Verdict == CheckFailed || c.Section != SectionConfig && c.Verdict != CheckOK {
			t.Errorf("%+v", c)
		}
	}

	unlock, err := lake.Lock(t.Context(), "export", false)
	if err != nil {
		t.Fatal(err)
	}
	oneOf(t, look(), "lake: lock", CheckOK, "doing export", "--wait")
	oneOf(t, look(), "lake: lock", CheckOK, "alive", "")
	w.Pass(15*time.Hour + config.DefaultSettle)
	oneOf(t, look(), "lake: lock", CheckWarning, "(15h", "ps -fp")
	oneOf(t, look(), "lake: lock", CheckWarning, "), alive", "ps -fp")
	if err := unlock(); err != nil {
		t.Fatal(err)
	}

	w.Pass(15 * time.Hour)
	oneOf(t, look(), "acme", CheckWarning, "30h", "usagelake export --account acme")
	w.Pass(-48 * time.Hour)
	oneOf(t, look(), "clock", CheckWarning, "was set back", "NTP")
	w.Pass(18 * time.Hour)

	day, _ := filepath.Glob(filepath.Join(w.Cfg.Lake, "raw/acct=acme", "date="+(today-1).String()))
	if len(day) != 1 {
		t.Fatal(day)
	}
	file := filepath.Join(w.Cfg.Lake, "lake.json")
	for _, c := range []struct {
		group     bool
		dir, file os.FileMode
		say, hint string
		verdict   string
	}{
		{false, 0o755, 0o600, "raw/", "chmod -R go=", CheckWarning},
		{false, 0o700, 0o640, "lake.json", "lake_access: group", CheckWarning},
		{true, 0o777, 0o640, "open to more", "chmod -R g-w,o=", CheckWarning},
		{true, 0o750, 0o600, "the group can't read", "chmod -R g+rX", CheckWarning},
	} {
		for path, mode := range map[string]os.FileMode{day[0]: c.dir, file: c.file} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		w.Cfg.LakeAccess = config.AccessPrivate
		if c.group {
			w.Cfg.LakeAccess = config.AccessGroup
		}
		oneOf(t, look(), "lake: access", c.verdict, c.say, c.hint)
		dir, link := w.Cfg.Lake, filepath.Join(t.TempDir(), "lake") // a lake as a whole may be a link
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		w.Cfg.Lake = link
		oneOf(t, look(), "lake: access", c.verdict, c.say, c.hint)
		w.Cfg.Lake = dir
	}
	w.Cfg.LakeAccess = ""
	for path, mode := range map[string]os.FileMode{day[0]: 0o700, file: 0o600} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}

	kit.Write(t, filepath.Join(w.Cfg.Lake, ".tmp", "half"), "half", 0o600)
	oneOf(t, look(), "lake: half-done files", CheckOK, "4 B", "")

	if err := os.Rename(day[0], filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	oneOf(t, look(), "acme", CheckWarning, "1 gap, 24h in all", "usagelake export --account acme")
	if err := os.Truncate(lake.Database(), 100); err != nil {
		t.Fatal(err)
	}
	oneOf(t, look(), "lake: published", CheckFailed, "no file that published.json knows", "usagelake rebuild")
	if err := os.Remove(lake.Database()); err != nil {
		t.Fatal(err)
	}
	oneOf(t, look(), "lake: published", CheckWarning, "no usage.duckdb", "usagelake rebuild")
	kit.Write(t, file, `{"format":99}`, 0o600)
	oneOf(t, look(), "lake: format", CheckFailed, "newer", "newest")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	oneOf(t, look(), "lake: format", CheckWarning, "without lake.json", "usagelake rebuild")
	w.Cfg.Lake = filepath.Dir(day[0])
	oneOf(t, look(), "lake: format", CheckFailed, "no lake, and not empty", "--lake")
}

func TestDoctorTellsHowRunsEnded(t *testing.T) {
	at := func(hours int) time.Time { return kit.Start.Add(-time.Duration(hours) * time.Hour) }
	run := func(command, status, err string, hours int) schemas.Run {
		r := schemas.Run{Command: command, Status: status, Error: err, StartedAt: at(hours), EndedAt: at(hours), PID: 7}
		if status == schemas.StatusRunning {
			r.EndedAt = time.Time{}
		}
		return r
	}
	for _, c := range []struct {
		name               string
		runs               []schemas.Run
		holder             *load.HeldError
		verdict, say, hint string
	}{
		{"done after a failure",
			[]schemas.Run{run("export", schemas.StatusFailed, "x", 9), run("export", schemas.StatusDone, "", 3)}, nil, CheckOK,
			"done 3h ago", ""},
		{"failures in a row",
			[]schemas.Run{run("export", schemas.StatusDone, "", 50), run("export", schemas.StatusFailed, "x", 9),
				run("export", schemas.StatusPartial, "three windows\nmore", 3)}, nil,
			CheckWarning, "the last 2 failed; partial 3h ago: three windows (the last that was done: 2 days ago)",
			"usagelake export"},
		{"refused", []schemas.Run{run("export", schemas.StatusRefused, "401", 3)}, nil, CheckWarning, "401", "above"},
		{"killed", []schemas.Run{run("export", schemas.StatusRunning, "", 3)}, nil, CheckWarning,
			"interrupted 3h ago: it never ended", "usagelake export"},
		{"under way", []schemas.Run{run("export", schemas.StatusDone, "", 3), run("export", schemas.StatusRunning, "", 0)},
			&load.HeldError{PID: 7}, CheckOK, "done 3h ago", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &doctor{now: kit.Start, status: &jobs.Status{Holder: c.holder}}
			d.checkRuns(c.runs)
			oneOf(t, d.out, "last export", c.verdict, c.say, c.hint)
		})
	}
}

func TestTheRoomOfADiskIsHeldAgainstGrowth(t *testing.T) {
	inodes := func(n uint64) *uint64 { return &n }
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		name         string
		use          diskUse
		verdict, say string
	}{
		{"nothing known, much room", diskUse{free: 5 * gib}, CheckOK, "5.0 GiB free"},
		{"nothing known, little room", diskUse{free: gib - 1}, CheckWarning, "1.0 GiB free"},
		{"full", diskUse{free: 15 * mib}, CheckFailed, "no run gets through"},
		{"little room, but it lasts", diskUse{free: 500 * mib, bytes: 30 * mib, files: 60, days: 30, allBytes: 30 * mib},
			CheckOK, "grows by 1.0 MiB a day (last 30 days): room for 500 days"},
		{"the published file grows, too", diskUse{free: 500 * mib, bytes: 30 * mib, days: 30, allBytes: 60 * mib,
			database: 60 * mib}, CheckOK, "grows by 2.0 MiB a day (last 30 days): room for 220 days"},
		{"the day before the last", diskUse{free: 30 * gib, bytes: 30 * gib, days: 30, allBytes: 30 * gib}, CheckOK,
			"room for 30 days"},
		{"less than a month", diskUse{free: 30*gib - 1, bytes: 30 * gib, days: 30, allBytes: 30 * gib}, CheckWarning,
			"room for 29 days"},
		{"no room for a publish", diskUse{free: 9 * gib, bytes: gib, days: 30, allBytes: gib, database: 10 * gib},
			CheckWarning, "10.0 GiB for a second copy"},
		{"no inodes", diskUse{free: 500 * gib, freeFiles: inodes(100), bytes: 30 * mib, files: 300, days: 30, allBytes: gib},
			CheckWarning, "room for 100 files only: enough for 10 days"},
		{"inodes enough", diskUse{free: 500 * gib, freeFiles: inodes(1e6), bytes: 30 * mib, files: 300, days: 30,
			allBytes: 30 * mib}, CheckOK, "more than ten years"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.use.check()
			if got.Verdict != c.verdict || !strings.Contains(got.Detail, c.say) || (got.Hint == "") != (c.verdict == CheckOK) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestGrowthIsOfTheLastDaysThatAreOver(t *testing.T) {
	today := schemas.DateOf(kit.Start)
	s := survey{days: map[schemas.Date]dayFiles{}, database: 7}
	for back := range schemas.Date(100) {
		s.days[today-back] = dayFiles{bytes: 10, files: 2}
	}
	s.days[today] = dayFiles{bytes: 1e9, files: 1}
	if u := s.use(today); u.days != 30 || u.bytes != 300 || u.files != 60 || u.allBytes != 1e9+990 || u.database != 7 {
		t.Errorf("%+v", u)
	}
	s.days = map[schemas.Date]dayFiles{today - 50: {bytes: 10}, today - 41: {bytes: 10}}
	if u := s.use(today); u.days != 10 || u.bytes != 20 {
		t.Errorf("after a pause: %+v", u)
	}
	s.days = map[schemas.Date]dayFiles{today: {bytes: 10}}
	if u := s.use(today); u.days != 0 || u.perDay() != 0 {
		t.Errorf("of today alone: %+v", u)
	}
}

func TestZonesThatSurprise(t *testing.T) {
	zone := func(name string) *time.Location {
		l, err := time.LoadLocation(name)
		if err != nil {
			t.Skip("no time zone database here")
		}
		return l
	}
	for _, c := range []struct {
		tz                 string
		now                time.Time
		verdict, say, hint string
	}{
		{"", kit.Start, CheckOK, "UTC", ""},
		{"Europe/Berlin", kit.Start.In(zone("Europe/Berlin")), CheckOK,
			"On 2027-03-28 the times from 02:00 to 03:00 don't exist", "OnCalendar"},
		{":America/New_York", kit.Day(1).AddDate(0, -2, 0).In(zone("America/New_York")), CheckOK,
			"On 2026-11-01 the times from 01:00 to 02:00 come twice", "OnCalendar"},
		{"Australia/Lord_Howe", kit.Start.In(zone("Australia/Lord_Howe")), CheckOK,
			"On 2027-04-04 the times from 01:30 to 02:00 come twice", "OnCalendar"},
		{"Asia/Kolkata", kit.Start.In(zone("Asia/Kolkata")), CheckOK, "midnight is 05:30 here", ""},
		{"Mars/Olympus", kit.Start, CheckWarning, "Mars/Olympus", "unset"},
		{"/no/such/zone", kit.Start, CheckWarning, "takes UTC", "unset"},
	} {
		t.Run(c.tz, func(t *testing.T) {
			l := &checklist{}
			checkZone(l, c.now, c.tz)
			oneOf(t, l.out, "time zone", c.verdict, c.say, c.hint)
		})
	}
}

func TestAKeyIsDescribedAndNotShown(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for key, say := range map[string]string{
		"sk_mg_" + hex:        "",
		"Bearer sk_mg_" + hex: "Bearer",
		`"sk_mg_` + hex + `"`: "quotes",
		"sk-" + hex:           "for models",
		hex:                   "otherwise",
		"sk_mg_" + hex[:63]:   "69 characters",
		"sk_mg_" + strings.ToUpper(hex[:63]) + "g": "hex",
	} {
		got := misshapen(key)
		if (say == "") != (got == "") || !strings.Contains(got, say) || strings.Contains(got, hex[:16]) {
			t.Errorf("%s: %q", key, got)
		}
	}
}

func TestAKeyIsReplacedInTime(t *testing.T) {
	for _, c := range []struct{ expires, verdict, say string }{
		{"2026-11-17", CheckWarning, "expired on 2026-11-17, 3 days ago"},
		{"2026-11-25", CheckWarning, "expires on 2026-11-25, in 4 days"},
		{"2027-01-09", CheckOK, "on 2027-01-09, in 49 days"},
	} {
		l := &checklist{}
		checkExpiry(l, config.Account{KeyExpires: c.expires}, kit.Start)
		oneOf(t, l.out, "key expiry", c.verdict, c.say, "")
	}
	l := &checklist{}
	if checkExpiry(l, config.Account{}, kit.Start); len(l.out) > 0 {
		t.Errorf("of a key whose end isn't known: %+v", l.out)
	}
}

func TestDoctorNamesWhatIsWrongAndWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name                string
		set                 func(w *world)
		check, verdict, say string
		refused             bool
	}{
		{"all well", nil, "acme: usage:read", CheckOK, "records in the hour", false},
		{"a new lake", nil, "lake: format", CheckOK, "not made yet", false},
		{"no key", func(w *world) { w.Keys = nil }, "acme: key", CheckFailed, "KEY_0 is not set", false},
		{"a key of another shape", func(w *world) { w.Keys["KEY_0"] = "abc" }, "acme: key", CheckWarning, "64 hex digits",
			false},
		{"an unknown key", func(w *world) { w.Keys["KEY_0"] = "sk_mg_" + strings.Repeat("0", 64) }, "acme: usage:read",
			CheckFailed, "401", true},
		{"no scope for the balance", func(w *world) { _ = w.Portal.SetScopes(w.Keys["KEY_0"], portal.ScopeUsage) },
			"acme: balance:read", CheckWarning, "403", true},
		{"no scope for usage", func(w *world) { _ = w.Portal.SetScopes(w.Keys["KEY_0"], portal.ScopeBalance) },
			"acme: usage:read", CheckFailed, "403", true},
		{"no total", func(w *world) { w.Faults("total=absent") }, "acme: usage:read", CheckWarning, "without a total", false},
		{"an outage", func(w *world) { w.Faults("status-502=1") }, "acme: usage:read", CheckFailed, "502", false},
		{"another program on the key", func(w *world) { w.Faults("status-429=1,from=1,to=1") }, "acme: rate limit",
			CheckWarning, "429", false},
		{"a bad address", func(w *world) { w.Cfg.Accounts[0].BaseURL = "http://portal.example" }, "acme: base URL",
			CheckFailed, "in the clear", false},
		{"a lake", func(w *world) { w.export(span(19, 20)) }, "lake: lock", CheckOK, "free", false},
		{"a directory that is no lake", func(w *world) { w.Cfg.Lake = os.DevNull }, "lake: format", CheckFailed, "", false},
	} {
		kit.Bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, kit.Settings{})
			if c.set != nil {
				c.set(w)
			}
			before := map[string]string{}
			if _, err := os.Stat(filepath.Join(w.Cfg.Lake, "raw")); err == nil {
				before = w.Files()
			}
			checks := Examine(t.Context(), w.Cfg, w.env, Options{})
			for _, got := range checks {
				if got.Name != c.check {
					continue
				}
				if got.Verdict != c.verdict || !strings.Contains(got.Detail, c.say) || got.Refused != c.refused ||
					(c.verdict == CheckFailed && c.refused && got.Hint == "") {
					t.Errorf("%+v", got)
				}
				if len(before) > 0 && len(kit.Changed(before, w.Files())) > 0 {
					t.Error("it changed the lake")
				}
				return
			}
			t.Errorf("nothing is said of %s: %+v", c.check, checks)
		})
	}
}

func TestDoctorFindsTwoKeysOfOneOrganisation(t *testing.T) {
	w := newWorld(t, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 100},
		{ID: "beta", RecordsPerDay: 100}, {ID: "gamma", RecordsPerDay: 100}}})
	w.SecondKey("beta")
	checks := Examine(t.Context(), w.Cfg, w.env, Options{})
	oneOf(t, checks, "acme: other accounts", CheckFailed, "beta", "out of the config")
	oneOf(t, checks, "beta: other accounts", CheckFailed, "acme", "out of the config")
	oneOf(t, checks, "gamma: other accounts", CheckOK, "acme, beta", "")
	span := jobs.Span{From: w.Now().Add(-48 * time.Hour).Truncate(24 * time.Hour), To: w.Now().Truncate(24 * time.Hour)}
	if _, err := jobs.Export(t.Context(), w.Cfg, w.env, jobs.ExportOptions{Span: span, Retry: kit.Retry}); !errors.As(err,
		new(*publish.OverlapError)) {
		t.Fatal(err)
	}
	oneOf(t, Examine(t.Context(), w.Cfg, w.env, Options{}), "lake: accounts", CheckFailed, "acme and beta",
		"out of the config")
	if len(named(Examine(t.Context(), w.Cfg, w.env, Options{}), "acme: other accounts")) > 0 {
		t.Error("accounts that have data are asked again")
	}
}
