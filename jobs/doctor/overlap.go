package doctor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Two keys of one organisation double all cost, and neither of them alone looks wrong. Publishing finds it; before
// there is anything to publish, a page of each key tells.
const (
	sampleSize = 100
	sampleTime = 30 * 24 * time.Hour
	// A Portal that refuses so long a range is asked for this one.
	sampleTimeShort = 24 * time.Hour
	minSame         = 3 // or all of the smaller sample
)

// sample is what an account's key lists first: what tells a record from others, by which id.
type sample struct {
	records map[string]string
	err     error
}

// checkPairs holds accounts of one address against each other, unless both have data: then their days tell.
func (d *doctor) checkPairs(ctx context.Context, keys map[string]accountKey) {
	if d.opts.Offline {
		return
	}
	held := map[string]bool{}
	if d.status != nil {
		for _, a := range d.status.Accounts {
			held[a.Account] = !a.To.IsZero()
		}
	}
	looked := d.accounts()
	var pairs [][2]config.Account
	ask := map[string]config.Account{}
	for i, b := range d.cfg.Accounts {
		for _, a := range d.cfg.Accounts[:i] {
			isOf := func(c config.Account) bool { return c.Name == a.Name || c.Name == b.Name }
			unusable := func(k accountKey) bool { return k.err != nil || k.twin != "" }
			// A pair is asked about once, whichever of the two is looked at; what is found is told in the section of each that
			// is.
			if a.BaseURL != b.BaseURL || held[a.Name] && held[b.Name] || !slices.ContainsFunc(looked, isOf) ||
				unusable(keys[a.Name]) || unusable(keys[b.Name]) {
				continue
			}
			pairs = append(pairs, [2]config.Account{a, b})
			ask[a.Name], ask[b.Name] = a, b
		}
	}
	samples := d.sample(ctx, ask, keys)
	for _, of := range looked {
		l := &checklist{section: SectionAccount + of.Name, prefix: of.Name + ": "}
		var others, same []string
		var failed error
		id := ""
		for _, p := range pairs {
			other := p[1]
			if other.Name == of.Name {
				other = p[0]
			} else if p[0].Name != of.Name {
				continue
			}
			a, b := samples[of.Name], samples[other.Name]
			if err := cmp.Or(a.err, b.err); err != nil {
				failed = err
				continue
			}
			others = append(others, other.Name)
			// A record or two may be alike by chance where ids are short; of a sample of two, two are all of it.
			if n, one := alike(a, b); n > 0 && n >= min(minSame, len(a.records), len(b.records)) {
				same, id = append(same, other.Name), one
			}
		}
		const name = "other accounts"
		switch {
		case len(same) > 0:
			l.fail(name, "two keys of one organisation? Take all but one of these accounts out of the config before they are "+
				"exported",
				"its key lists the same records as that of %s, such as id %q: their cost would count twice", words.Some(same, 5),
				id)
		case failed != nil:
			l.warn(name, "usagelake doctor once more", "not told whether its key lists the same records as another's: %s",
				failed)
		case len(others) > 0:
			l.ok(name, "its key lists other records than %s", words.Some(others, 5))
		}
		d.out = append(d.out, l.out...)
	}
}

// alike counts the records that two samples share, and names one.
func alike(a, b sample) (n int, id string) {
	for k, name := range a.records {
		if _, ok := b.records[k]; ok {
			if n++; id == "" || name < id {
				id = name
			}
		}
	}
	return n, id
}

// sample asks the accounts for the first page of the same stretch of time, side by side.
func (d *doctor) sample(ctx context.Context, accounts map[string]config.Account,
	keys map[string]accountKey) map[string]sample {
	out := map[string]sample{}
	end := d.now.UTC().Add(-config.DefaultSettle).Truncate(time.Second)
	turn := make(chan struct{}, maxAsked)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, a := range accounts {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			s := d.sampleOf(ctx, a, keys[name].key, end)
			mu.Lock()
			defer mu.Unlock()
			out[name] = s
		})
	}
	wg.Wait()
	return out
}

// sampleOf asks for one page, by a client of its own: that of the account's checks is closed by now. Its pacer waits
// for a gap before the first request, so that the two don't come together.
func (d *doctor) sampleOf(ctx context.Context, a config.Account, key string, end time.Time) sample {
	client, err := extract.NewClient(extract.Options{Account: a.Name, BaseURL: a.BaseURL, Key: key,
		UserAgent: "usagelake/" + d.env.Version,
		Pacer:     extract.NewPacer(a.Rate, a.MaxInFlight), Transport: d.env.Transport, Timeout: 15 * time.Second,
		Retry: extract.Retry{Attempts: 2, Throttled: rateProbeTime}, Now: d.env.Now, Logger: d.env.Logger})
	if err != nil {
		return sample{err: err}
	}
	defer client.Close()
	var page schemas.Page
	// A refusal other than 400 isn't about the length, and is final.
	for _, length := range []time.Duration{sampleTime, sampleTimeShort} {
		var api *extract.APIError
		page, err = client.Sample(ctx, schemas.Window{Account: a.Name, Start: end.Add(-length), End: end}, sampleSize)
		if !errors.As(err, &api) || api.Status != http.StatusBadRequest {
			break
		}
	}
	if err != nil {
		return sample{err: err}
	}
	return readSample(page.Body)
}

// readSample reads what tells the records of a page apart. What can't be read tells nothing. Fields are compared as
// they were written: both answers come from the same server, and a number that it writes as text, or an unknown
// precision, makes no difference.
func readSample(body []byte) sample {
	var answer struct {
		Data struct {
			List []struct {
				ID          json.RawMessage `json:"id"`
				RequestTime json.RawMessage `json:"request_time"`
				TokenID     json.RawMessage `json:"token_id"`
				UserID      json.RawMessage `json:"user_id"`
				Model       json.RawMessage `json:"model"`
				TotalAmount json.RawMessage `json:"total_amount"`
				Discount    json.RawMessage `json:"discount_amount"`
				Amount      json.RawMessage `json:"amount"`
			} `json:"list"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return sample{err: fmt.Errorf("the answer can't be read: %w", err)}
	}
	s := sample{records: map[string]string{}}
	for _, r := range answer.Data.List {
		// The id alone won't do: two organisations may both count from 1.
		if id := strings.Trim(string(r.ID), `"`); id != "" && id != "null" {
			s.records[string(bytes.Join([][]byte{r.ID, r.RequestTime, r.TokenID, r.UserID, r.Model, r.TotalAmount, r.Discount,
				r.Amount}, []byte(" ")))] = id
		}
	}
	return s
}
