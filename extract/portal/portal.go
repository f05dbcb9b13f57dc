package portal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// BasePath is where the Manager API stands.
const BasePath = "/api/v1/portal/management"

// Shape is which of the two answers /usage gives.
type Shape int

const (
	Detailed Shape = iota // list of records with ids and money, and a total
	Summary               // records of timestamp, tokens and model
)

// Options says what to simulate. The zero value is one organisation with some 120,000 records a month, at the
// documented limits, without fault.
type Options struct {
	// Seed decides everything: keys, tokens, prices agreed, records, and which request a fault hits.
	Seed uint64
	// Now is the Portal's clock; nil is time.Now. A record of the future doesn't exist yet.
	Now func() time.Time
	// Start is when the first record was made. Zero is 2025-01-01T00:00Z, or a year before Now() if that is later.
	Start time.Time
	// Orgs are the organisations; nil is one with id "0".
	Orgs   []OrgOptions
	Limit  LimitOptions
	Faults Faults
	// OnRequest, if set, is told of every request to the API when it is over. It must not block.
	OnRequest func(RequestInfo)
}

// OrgOptions is one organisation with its data and its first management key.
type OrgOptions struct {
	ID string // empty is "0"
	// RecordsPerDay is the average on 2026-11-01, working days and weekends together; volume grows by some 2 % of it a
	// month, and is never under half nor over three times of it. Zero is 4,000.
	RecordsPerDay float64
	Currency      string // empty is USD
	Key           string // first management key, sk_mg_ and 64 hex digits; empty is one derived from the seed
	Shape         Shape
	RefillDays    int // days between the top-ups of the balance; zero is 28
}

// RequestInfo is one request to the API as [Options.OnRequest] hears of it. It holds no key.
type RequestInfo struct {
	Time     time.Time
	Duration time.Duration
	Method   string
	Endpoint string // "usage", "balance", "keys"
	Query    string
	Org      string // empty if the key was refused
	Status   int    // 0 if the connection was reset or left hanging
	Fault    string // name of the fault that decided the answer, if one did
}

// Portal is the simulated Portal. It is safe for concurrent use.
type Portal struct {
	options Options
	worlds  []*world
	hours   *hours
	keys    *keyring
	stats   *recorder
	offset  atomic.Int64 // of the clock, nanoseconds

	faults     atomic.Pointer[faultState]
	generation atomic.Uint64
	serial     atomic.Uint64 // of request ids
	nonce      uint64        // keeps request ids of two runs apart

	mu      sync.Mutex
	windows map[string]int // requests per window, for what happens during paging
	arrived int
	dropped int
	swapped int
}

// New makes a Portal. It reports every option that is wrong.
func New(o Options) (*Portal, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
		if year := o.Now().UTC().AddDate(-1, 0, 0).Truncate(24 * time.Hour); year.Before(o.Start) {
			o.Start = year
		}
	}
	if len(o.Orgs) == 0 {
		o.Orgs = []OrgOptions{{}}
	}
	o.Orgs = append([]OrgOptions(nil), o.Orgs...)
	errs := []error{o.Limit.setDefaults(), o.Faults.Validate()}
	if o.Start.Year() < 1998 {
		errs = append(errs, fmt.Errorf("start %s is before 1998", o.Start.Format(time.DateOnly)))
	}
	if len(o.Orgs) > 16 {
		errs = append(errs, fmt.Errorf("%d organisations: at most 16", len(o.Orgs)))
	}
	p := &Portal{options: o, hours: newHours(), keys: newKeyring(o.Seed), stats: newRecorder(), windows: map[string]int{}}
	p.keys.now = p.now
	seen := map[string]bool{}
	for i := range o.Orgs {
		org := &o.Orgs[i]
		errs = append(errs, org.setDefaults())
		if seen[org.ID] {
			errs = append(errs, fmt.Errorf("organisation %q is there twice", org.ID))
		}
		seen[org.ID] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.options.Limit = o.Limit
	p.keys.limits = func() *limiter { return newLimiter(o.Limit) }
	for i, org := range o.Orgs {
		w := newWorld(o.Seed, i, org, o.Start.Unix())
		p.worlds = append(p.worlds, w)
		key := org.Key
		if key == "" {
			key = p.keys.derive(org.ID, 0)
		}
		if _, err := p.keys.add(KeySpec{Org: org.ID, User: w.users[0], Admin: true, Name: "default",
			Scopes: []string{ScopeBalance, ScopeUsage}}, key, o.Start); err != nil {
			return nil, fmt.Errorf("organisation %q: %w", org.ID, err)
		}
	}
	var b [8]byte
	rand.Read(b[:])
	for _, c := range b {
		p.nonce = p.nonce<<8 | uint64(c)
	}
	p.faults.Store(newFaultState(o.Faults, o.Seed, 0, p.now()))
	return p, nil
}

func (o *OrgOptions) setDefaults() error {
	if o.ID == "" {
		o.ID = "0"
	}
	if o.RecordsPerDay == 0 {
		o.RecordsPerDay = 4000
	}
	if o.Currency == "" {
		o.Currency = "USD"
	}
	if o.RefillDays == 0 {
		o.RefillDays = 28
	}
	var errs []error
	if !(o.RecordsPerDay > 0 && o.RecordsPerDay <= 1e8) {
		errs = append(errs, fmt.Errorf("organisation %q: %v records a day: must be above 0 and at most 1e8", o.ID,
			o.RecordsPerDay))
	}
	if o.RefillDays < 1 {
		errs = append(errs, fmt.Errorf("organisation %q: top-ups every %d days", o.ID, o.RefillDays))
	}
	if o.Key != "" && !wellFormed(o.Key) {
		errs = append(errs, fmt.Errorf("organisation %q: a management key is sk_mg_ and 64 hex digits", o.ID))
	}
	return errors.Join(errs...)
}

func (p *Portal) now() time.Time { return p.options.Now().Add(time.Duration(p.offset.Load())) }

// SetClockOffset moves the Portal's clock from [Options.Now], so that what is late, corrected or vanishes can be waited
// for without waiting. The limiter's clock stays.
func (p *Portal) SetClockOffset(d time.Duration) { p.offset.Store(int64(d)) }

// BasePath is the constant [BasePath].
func (p *Portal) BasePath() string { return BasePath }

// SetFaults puts other faults in force, from the next request on, and counts requests anew. Records that arrived or
// vanished during paging stay as they are. It panics on faults that [Faults.Validate] refuses.
func (p *Portal) SetFaults(f Faults) {
	if err := f.Validate(); err != nil {
		panic(err)
	}
	p.faults.Store(newFaultState(f, p.options.Seed, p.generation.Add(1), p.now()))
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.windows)
	p.arrived, p.dropped, p.swapped = 0, 0, 0
}

// Faults are those in force.
func (p *Portal) Faults() Faults { return p.faults.Load().Faults }

// Orgs lists the ids of the organisations.
func (p *Portal) Orgs() []string {
	var ids []string
	for _, w := range p.worlds {
		ids = append(ids, w.org)
	}
	return ids
}

// Teams lists an organisation's teams with their API tokens; nil if there is no such organisation.
func (p *Portal) Teams(org string) []Team {
	if w := p.world(org); w != nil {
		return w.teams
	}
	return nil
}

func (p *Portal) world(org string) *world {
	for _, w := range p.worlds {
		if w.org == org {
			return w
		}
	}
	return nil
}

// Truth is every record that a perfect export of [from, to) taken now would hold, oldest first: corrections applied,
// vanished ones gone, late ones there if they show by now, those that can't be read marked Bad, those listed twice
// once. It goes by request_time and reaches back beyond what fault keep leaves to be listed.
func (p *Portal) Truth(org string, from, to time.Time) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		w := p.world(org)
		if w == nil {
			return
		}
		s := p.faults.Load()
		q := wholeTruth(ceilUnix(from), ceilUnix(to), p.now().Unix()).clamp(w)
		for h := q.lo / 3600; h*3600 < q.hi; h++ {
			for _, r := range p.rows(w, h, q, &s.fate) {
				if !yield(p.truth(w, s, r)) {
					return
				}
			}
		}
	}
}

// Total is what [Portal.Truth] sums up to: how many records, and their net amount as an exact decimal.
func (p *Portal) Total(org string, from, to time.Time) (n int, net string) {
	w := p.world(org)
	if w == nil {
		return 0, "0"
	}
	v := p.view(w, wholeTruth(ceilUnix(from), ceilUnix(to), p.now().Unix()), &p.faults.Load().fate)
	return v.n, bigDecimal(v.net(), pico)
}

// ceilUnix is the first whole second not before t.
func ceilUnix(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

var _ http.Handler = (*Portal)(nil)

func bigPico(v int64) *big.Int { return new(big.Int).Mul(big.NewInt(v), big.NewInt(1e12)) }
