package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// Verdicts of a Check.
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckFailed  = "FAILED"
)

// Check is one line of a doctor's report.
type Check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail"`
	Hint    string `json:"hint,omitempty"` // what to do
	Refused bool   `json:"refused,omitempty"`
}

// Limits that Doctor warns at.
const (
	mostSkew  = 30 * time.Second
	leastDisk = 1 << 30
)

// Doctor checks a set-up. It asks the API two small questions per account and changes nothing but a probe file in the
// lake's directory, which it removes.
func Doctor(ctx context.Context, cfg *Config, env Env) []Check {
	var out []Check
	add := func(name, verdict, hint, format string, args ...any) {
		out = append(out, Check{Name: name, Verdict: verdict, Hint: hint, Detail: fmt.Sprintf(format, args...)})
	}
	if cfg.Path() != "" {
		add("config", CheckOK, "", "%s, %d accounts", cfg.Path(), len(cfg.Accounts))
	} else {
		add("config", CheckOK, "", "no file: one account from the environment (usagelake init writes one)")
	}
	for _, a := range cfg.Accounts {
		out = append(out, checkAccount(ctx, a, env)...)
	}
	out = append(out, checkLake(cfg.Lake)...)
	if zone, offset := env.Now().Zone(); offset != 0 {
		add("time zone", CheckOK, "", "this machine is in %s; days, windows and reports are UTC", zone)
	} else {
		add("time zone", CheckOK, "", "UTC")
	}
	add("versions", CheckOK, "", "usagelake %s, DuckDB %s", env.Version, load.DuckDBVersion())
	return out
}

func checkAccount(ctx context.Context, a Account, env Env) []Check {
	var out []Check
	add := func(name, verdict, hint, format string, args ...any) *Check {
		out = append(out, Check{Name: a.Name + ": " + name, Verdict: verdict, Hint: hint, Detail: fmt.Sprintf(format, args...)})
		return &out[len(out)-1]
	}
	key, err := a.Key(env.Getenv)
	if err != nil {
		hint := ""
		var h *Hint
		if errors.As(err, &h) {
			hint = h.Hint
		}
		add("key", CheckFailed, hint, "%v", err)
		return out
	}
	if !wellFormed(key) {
		add("key", CheckWarning, "copy it again from the Portal: Settings > API Keys > Management API Keys", "it doesn't look like sk_mg_ and 64 hex digits")
	} else {
		add("key", CheckOK, "", "set, and well formed")
	}
	client, err := extract.NewClient(extract.Options{Account: a.Name, BaseURL: a.BaseURL, Key: key, UserAgent: "usagelake/" + env.Version,
		Pacer: extract.NewPacer(a.Rate, a.MaxInFlight), Transport: env.Transport, Timeout: 15 * time.Second,
		Retry: extract.Retry{Attempts: 2, Throttled: 10 * time.Second}, Now: env.Now, Logger: env.Logger})
	if err != nil {
		add("base URL", CheckFailed, "", "%v", err)
		return out
	}
	defer client.Close()
	refusal := func(scope string, err error) {
		hint := "is the address right, and does a proxy stand in between (HTTPS_PROXY)?"
		refused := errors.Is(err, extract.ErrRefused)
		if refused {
			hint = "in the Portal, is the key active and not expired, and has it the scope " + scope + "?"
		}
		add(scope, CheckFailed, hint, "%v", err).Refused = refused
	}
	if b, err := client.Balance(ctx); err != nil {
		refusal("balance:read", err)
		out[len(out)-1].Verdict = CheckWarning // an export does without
		var api *extract.APIError
		if errors.As(err, &api) && api.Status == 401 {
			out[len(out)-1].Verdict = CheckFailed
		}
	} else {
		add("balance:read", CheckOK, "", "balance %s %s", b.Amount, b.Currency)
	}
	f := extract.NewFetcher(extract.FetchOptions{Client: client})
	end := env.Now().UTC().Add(-DefaultSettle).Truncate(time.Second)
	hour := schemas.Window{Account: a.Name, Start: end.Add(-time.Hour), End: end}
	if c, err := f.Count(ctx, hour); err != nil {
		refusal("usage:read", err)
	} else if c.Records != nil {
		add("usage:read", CheckOK, "", "%d records in the hour before %s", *c.Records, end.Format(time.RFC3339))
	} else {
		add("usage:read", CheckWarning, "exports page through each window twice, which takes twice as long", "answered, but without a total")
	}
	if skew, ok := client.ClockSkew(); ok {
		skew = skew.Round(time.Second)
		switch {
		case skew > mostSkew:
			add("clock", CheckWarning, "set this machine's clock (NTP): an export ends so much earlier than it could", "%s behind the Portal's", skew)
		case skew < -mostSkew:
			add("clock", CheckWarning, "set this machine's clock (NTP): an export ends by the Portal's meanwhile", "%s ahead of the Portal's", -skew)
		default:
			add("clock", CheckOK, "", "within %s of the Portal's", max(skew.Abs(), time.Second))
		}
	}
	n := client.Counts()
	if n.Throttled > 0 {
		add("rate limit", CheckWarning, "another program may be using this key; give usagelake one of its own", "%d of %d requests were answered by 429", n.Throttled, n.Requests)
	} else {
		add("rate limit", CheckOK, "", "%.2f requests a second, none refused", cmp.Or(a.Rate, extract.DefaultRate))
	}
	return out
}

func wellFormed(key string) bool {
	hex, ok := strings.CutPrefix(key, "sk_mg_")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

func checkLake(dir string) []Check {
	var out []Check
	add := func(name, verdict, hint, format string, args ...any) {
		out = append(out, Check{Name: "lake: " + name, Verdict: verdict, Hint: hint, Detail: fmt.Sprintf(format, args...)})
	}
	lake, err := load.Open(dir, load.Options{})
	switch {
	case errors.Is(err, load.ErrNoLake):
		add("format", CheckOK, "", "%s: not made yet, the first export makes it", dir)
	case err != nil:
		add("format", CheckFailed, "", "%v", err)
	default:
		add("format", CheckOK, "", "%s, format %d", dir, load.Format)
		if h := lake.Holder(); h != nil {
			add("lock", CheckWarning, "wait for it, or use --wait", "held by %s", h.Holder())
		} else {
			add("lock", CheckOK, "", "free")
		}
	}
	at := existing(dir)
	if probe, err := os.CreateTemp(at, ".usagelake-doctor-*"); err != nil {
		add("permissions", CheckFailed, "let this user write to "+at, "%v", err)
	} else {
		_ = probe.Close()
		_ = os.Remove(probe.Name())
		add("permissions", CheckOK, "", "%s can be written to", at)
	}
	if free, err := load.DiskFree(at); err == nil {
		if free < leastDisk {
			add("disk", CheckWarning, "make room: a run needs space for a second copy of usage.duckdb", "%.2f GiB free", float64(free)/(1<<30))
		} else {
			add("disk", CheckOK, "", "%.1f GiB free", float64(free)/(1<<30))
		}
	}
	return out
}

// existing is dir or its nearest parent that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return dir
		}
		dir = parent
	}
}
