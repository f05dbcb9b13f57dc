package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// What a Doctor warns at, and how much it asks.
const (
	maxSkew = 30 * time.Second
	// rateProbes requests are sent at once for the pacer to space, beside the two that ask for balance and usage. With
	// those it is enough for a limit of two a second to show somebody else's requests, and takes some three seconds.
	rateProbes = 4
	// rateProbeTime bounds them: after a 429 the pacer rests, ever longer.
	rateProbeTime = 10 * time.Second
	// soonExpired is how long before a key's end there is a warning.
	soonExpired = 14 * 24 * time.Hour
)

// whereKeys are made.
const whereKeys = "the Portal: Settings > API Keys > Management API Keys"

// accountKey is what could be read of an account's key, and which other accounts have it. key is "" where err isn't
// nil. It is in memory alone: no check holds any of it.
type accountKey struct {
	key, from string
	err       error
	twin      string // an account before it with the same key at the same address
	elsewhere string // an account before it that sends the same key to another address
}

// readKeys reads the keys of the whole config, also where one account is looked at: that another has the same key shows
// in no one of them.
func (d *doctor) readKeys() map[string]accountKey {
	out := map[string]accountKey{}
	for i, a := range d.cfg.Accounts {
		var k accountKey
		k.key, k.err = a.Key(d.env.Getenv)
		k.from = "the variable " + a.KeyEnv
		if a.KeyFile != "" {
			k.from = "the file " + a.KeyFile
		}
		for _, b := range d.cfg.Accounts[:i] {
			switch {
			case k.err != nil || out[b.Name].err != nil || out[b.Name].key != k.key:
			case a.BaseURL == b.BaseURL:
				k.twin = cmp.Or(k.twin, b.Name)
			default:
				k.elsewhere = cmp.Or(k.elsewhere, b.Name)
			}
		}
		out[a.Name] = k
	}
	return out
}

// checkAccount goes from what costs nothing to what costs requests, and ends at the first thing without which the rest
// means nothing.
func (d *doctor) checkAccount(ctx context.Context, a config.Account, k accountKey) []Check {
	l := &checklist{section: SectionAccount + a.Name, prefix: a.Name + ": "}
	checkKey(l, k)
	if k.err != nil {
		return l.out
	}
	checkExpiry(l, a, d.now)
	if d.opts.Offline {
		l.ok("API", "not asked (--offline)")
		return l.out
	}
	if k.twin != "" {
		return l.out // asking twice would look like two programs that share a key
	}
	client, err := extract.NewClient(extract.Options{Account: a.Name, BaseURL: a.BaseURL, Key: k.key,
		UserAgent: "usagelake/" + d.env.Version,
		Pacer:     extract.NewPacer(a.Rate, a.MaxInFlight), Transport: d.env.Transport, Timeout: 15 * time.Second,
		Retry: extract.Retry{Attempts: 2, Throttled: rateProbeTime}, Now: d.env.Now, Logger: d.env.Logger})
	if err != nil {
		if errURL := (extract.Options{BaseURL: a.BaseURL, Key: "-"}).Validate(); errURL != nil {
			l.fail("base URL", "correct base_url: in the config, or "+config.EnvBaseURL, "%v", errURL)
		} else {
			l.fail("key", "copy the key again from "+whereKeys, "%v", err)
		}
		return l.out
	}
	defer client.Close()
	x := &examination{checklist: l, account: a, client: client, from: k.from, now: d.now}
	x.ask(ctx)
	return l.out
}

// checkKey tells what can be told of a key without the API.
func checkKey(l *checklist, k accountKey) {
	// In this order: without a key nothing else can be said; one that another account has fails every run; one that looks
	// odd may work all the same.
	switch wrong := misshapen(k.key); {
	case k.err != nil:
		l.failure("key", "", k.err)
	case k.twin != "":
		l.fail("key", "give each account a key of its own, or take one of the two out of the config: an export refuses "+
			"to run",
			"%s holds the same key as account %s: every record would count twice", k.from, k.twin)
	case wrong != "":
		l.warn("key", "copy it again from "+whereKeys, "%s doesn't look like a management key (sk_mg_ and 64 hex digits): %s",
			k.from, wrong)
	case k.elsewhere != "":
		l.warn("key", "is base_url right for both?", "account %s sends the same key to another address", k.elsewhere)
	default:
		l.ok("key", "well formed, from %s", k.from)
	}
}

// misshapen says what is odd about a key without showing any of it; "" if it looks as it should.
func misshapen(key string) string {
	hex, ok := strings.CutPrefix(key, "sk_mg_")
	switch {
	case strings.HasPrefix(strings.ToLower(key), "bearer "):
		return `it begins with "Bearer", which is no part of the key`
	case strings.Trim(key, `"'`) != key:
		return "it stands in quotes, which are no part of the key"
	case !ok && strings.HasPrefix(key, "sk"):
		return "it may be a key for models, which can't read usage"
	case !ok:
		return "it begins otherwise"
	case len(hex) != 64:
		return fmt.Sprintf("it has %d characters in place of 70", len(key))
	case strings.Trim(hex, "0123456789abcdef") != "":
		return "it has characters that are no hex digits"
	}
	return ""
}

// checkExpiry tells how long the key is good for by the config; the API doesn't tell.
func checkExpiry(l *checklist, a config.Account, now time.Time) {
	day, err := schemas.ParseDate(a.KeyExpires)
	if err != nil {
		return // it names none
	}
	const name, hint = "key expiry", "make a new key in " + whereKeys +
		", put it in the place of the old one, then correct key_expires"
	switch left := day.Start().Sub(now); {
	case left <= 0:
		l.warn(name, hint, "by key_expires the key expired on %s, %s ago", day, words.Span(-left))
	case left < soonExpired:
		l.warn(name, hint, "by key_expires the key expires on %s, in %s", day, words.Span(left))
	default:
		l.ok(name, "on %s, in %s", day, words.Span(left))
	}
}

// examination asks the API about one account.
type examination struct {
	*checklist
	account config.Account
	client  *extract.Client
	from    string // where its key is from
	now     time.Time
}

// ask asks for the balance and for the count of an hour, each of which needs another scope. Together they tell more
// than each: if both refuse the key as such it is bad, if one does it lacks a scope. If nobody answers the first there
// is no second, which would only take its timeout.
func (x *examination) ask(ctx context.Context) {
	defer x.clock()
	balance, errBalance := x.client.Balance(ctx)
	if errBalance != nil && !x.client.Answered() {
		x.fail("API", "is base_url right, and does a firewall or a proxy (HTTPS_PROXY) stand in between?", "%s",
			x.text(errBalance))
		return
	}
	f := extract.NewFetcher(extract.FetchOptions{Client: x.client})
	end := x.now.UTC().Add(-config.DefaultSettle).Truncate(time.Second)
	hour := schemas.Window{Account: x.account.Name, Start: end.Add(-time.Hour), End: end}
	counted, errUsage := f.Count(ctx, hour)

	switch {
	case unaccepted(errBalance) && unaccepted(errUsage): // neither scope can be told
		x.add(CheckFailed, "usage:read",
			"in "+whereKeys+": was it revoked, disabled or deleted, or has it expired? Enable it, or make a new one and put it "+
				"into "+x.from,
			"the Portal doesn't accept the key: %s", x.text(errUsage)).Refused = true
		return
	case errBalance == nil || errUsage == nil || errors.Is(errBalance, extract.ErrRefused) ||
		errors.Is(errUsage, extract.ErrRefused):
		x.ok("accepted", "the Portal knows the key, and it is active")
	}
	x.balance(balance, errBalance)
	if errUsage != nil {
		x.refusal("usage:read", "nothing can be exported: ", errUsage).Verdict = CheckFailed
	} else if counted.Records != nil {
		x.ok("usage:read", "%s in the hour before %s", words.Plural(*counted.Records, "record", "records"),
			words.Instant(end))
	} else {
		x.warn("usage:read", "exports page through each window twice, which takes twice as long",
			"answered, but without a total")
	}
	// What has had an answer will have another: a question that was refused tells nothing of the limit.
	var again func(context.Context) error
	switch {
	case errUsage == nil:
		again = func(ctx context.Context) error { _, err := f.Count(ctx, hour); return err }
	case errBalance == nil:
		again = func(ctx context.Context) error { _, err := x.client.Balance(ctx); return err }
	}
	x.rateLimit(ctx, again)
}

func (x *examination) balance(b extract.Balance, err error) {
	const currency = "set currency: for this account in the config, else its amounts have none"
	switch {
	case err != nil:
		c := x.refusal("balance:read", "exports do without the balance: ", err)
		if c.Verdict = CheckWarning; unaccepted(err) {
			c.Verdict = CheckFailed
		}
		if x.account.Currency == "" {
			c.Hint += "; or " + currency
		}
	case b.Currency == "" && x.account.Currency == "":
		x.warn("balance:read", currency, "answered, but it names no currency")
	case b.Currency != "" && x.account.Currency != "" && b.Currency != x.account.Currency:
		x.warn("balance:read", "correct currency: in the config, or take it out: the Portal's stands above it",
			"the balance is in %s, the config says %s", b.Currency, x.account.Currency)
	default:
		x.ok("balance:read", "balance %s %s", b.Amount, cmp.Or(b.Currency, x.account.Currency))
	}
}

// refusal adds a check of a question that got no answer: the key isn't accepted (401), may not ask it (403), or
// something else is wrong. The caller gives the verdict.
func (x *examination) refusal(scope, means string, err error) *Check {
	hint := "is base_url right, and does a proxy stand in between (HTTPS_PROXY)? If the Portal itself is out of order, " +
		"wait"
	refused := errors.Is(err, extract.ErrRefused)
	switch {
	case unaccepted(err):
		hint = "in " + whereKeys + ": is the key active, and not expired? Only this question was refused so"
	case refused:
		hint = "in " + whereKeys + ": give the key the scope " + scope
	case errors.Is(err, extract.ErrThrottled):
		hint, means = "does another program use this key? Give usagelake one of its own", ""
	}
	if !refused {
		means = ""
	}
	c := x.add(CheckFailed, scope, hint, "%s%s", means, x.text(err))
	c.Refused = refused
	return c
}

// text is an API error without the account that the check names already.
func (x *examination) text(err error) string {
	return strings.TrimPrefix(err.Error(), "account "+x.account.Name+": ")
}

// unaccepted says that the key as such was refused, and not what it asked for.
func unaccepted(err error) bool {
	var api *extract.APIError
	return errors.As(err, &api) && errors.Is(api, extract.ErrRefused) && api.Status != http.StatusForbidden
}

// rateLimit sends a few requests more, as fast as the pacer lets them, and tells whether the Portal puts up with it.
// ask is a question that has been answered, nil if none was. Where the pacer keeps to the Portal's limit and there are
// 429s all the same, somebody else uses the key: that is what the few can show. At the first 429 it stops, for more of
// them would slow that other down.
func (x *examination) rateLimit(ctx context.Context, ask func(context.Context) error) {
	rate := cmp.Or(x.account.Rate, extract.DefaultRate)
	var answered []time.Time // in order
	var failed error
	if x.client.Counts().Throttled == 0 { // else the answer is known, and more would only add to the crowd
		if ask == nil {
			return
		}
		ctx, stop := context.WithTimeout(ctx, rateProbeTime)
		defer stop()
		// mu guards answered and failed.
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range rateProbes {
			wg.Go(func() {
				err := ask(ctx)
				mu.Lock()
				defer mu.Unlock()
				if x.client.Counts().Throttled > 0 {
					stop()
				}
				if err != nil {
					failed = err
					return
				}
				answered = append(answered, time.Now())
			})
		}
		wg.Wait()
	}
	n := x.client.Counts()
	switch {
	case n.Throttled > 0 && rate > portalRate:
		x.warn("rate limit", "set rate: 1.95 for this account, or leave it out",
			"%d of %s answered by 429: the config has %g a second, the Portal allows %g", n.Throttled,
			words.Plural(n.Requests, "request", "requests"), rate, portalRate)
	case n.Throttled > 0:
		x.warn("rate limit",
			"another program uses this key, or another usagelake does: give this one a key of its own ("+whereKeys+
				"); if there is none, set a lower rate: for this account",
			"%d of %s answered by 429, though they were sent at %.2f a second", n.Throttled,
			words.Plural(n.Requests, "request", "requests"), rate)
	case failed != nil:
		x.warn("rate limit", "usagelake doctor once more; if it stays so, the Portal is slow or out of order", "not told: %s",
			x.text(failed))
	default:
		x.ok("rate limit", "%s%s, none refused (rate: %g)", words.Plural(n.Requests, "request", "requests"),
			pace(rate, answered), rate)
	}
}

// pace tells how fast requests went that were answered at these times; the answers jitter, the sending doesn't. n
// answers have n-1 gaps between them; more than the rate is jitter, and isn't told. There is one answer at least.
func pace(rate float64, answered []time.Time) string {
	took := answered[len(answered)-1].Sub(answered[0]).Seconds()
	if took <= 0 {
		return ""
	}
	return fmt.Sprintf(" at %.2f a second", min(float64(len(answered)-1)/took, rate))
}

// clock compares this machine's clock with the Date of the last answer. Behind is harmless: what isn't exported yet the
// next run exports. Ahead, time would count as settled whose records are still to come; an export goes by the Portal's
// clock then (jobs.portalTime).
func (x *examination) clock() {
	skew, ok := x.client.ClockSkew()
	if !ok {
		return
	}
	skew = skew.Round(time.Second)
	const hint = "set this machine's clock (NTP: timedatectl set-ntp true): "
	switch {
	case skew > maxSkew:
		x.warn("clock", hint+"an export ends so much earlier than it could", "%s behind the Portal's", skew)
	case skew < -maxSkew:
		x.warn("clock", hint+"an export ends by the Portal's meanwhile", "%s ahead of the Portal's", -skew)
	default:
		x.ok("clock", "within %s of the Portal's", max(skew.Abs(), time.Second))
	}
}
