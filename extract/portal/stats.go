package portal

import (
	"maps"
	"sync"
	"time"
)

// Stats is what the API has been asked since it was made, or since [Portal.ResetStats].
type Stats struct {
	Requests int `json:"requests"`
	// ByStatus is endpoint → status → requests; status 0 is a connection reset, cut or left hanging.
	ByStatus    map[string]map[int]int `json:"by_status"`
	Accepted    int                    `json:"accepted"` // by the limiter
	Limited     int                    `json:"limited"`  // refused by the limiter, with 429; not by the fault status-429
	Faults      map[string]int         `json:"faults"`   // fault → requests whose answer it decided
	InFlight    int                    `json:"in_flight"`
	MaxInFlight int                    `json:"max_in_flight"`
	// MaxPerSecond is the most requests accepted of one key within any one second.
	MaxPerSecond int       `json:"max_per_second"`
	First        time.Time `json:"first"` // accepted request, by the limiter's clock
	Last         time.Time `json:"last"`
}

// Rate is the accepted requests a second between the first and the last; 0 if there were fewer than two.
func (s Stats) Rate() float64 {
	d := s.Last.Sub(s.First).Seconds()
	if s.Accepted < 2 || d <= 0 {
		return 0
	}
	return float64(s.Accepted-1) / d
}

type recorder struct {
	mu     sync.Mutex
	s      Stats
	recent map[string][]time.Time // key id → accepted within the last second
}

func newRecorder() *recorder {
	r := &recorder{}
	r.reset()
	return r
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s = Stats{ByStatus: map[string]map[int]int{}, Faults: map[string]int{}, InFlight: r.s.InFlight,
		MaxInFlight: r.s.InFlight}
	r.recent = map[string][]time.Time{}
}

func (r *recorder) enter(key string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.Accepted++
	r.s.InFlight++
	r.s.MaxInFlight = max(r.s.MaxInFlight, r.s.InFlight)
	if r.s.First.IsZero() {
		r.s.First = now
	}
	r.s.Last = now
	t := r.recent[key]
	for len(t) > 0 && now.Sub(t[0]) >= time.Second {
		t = t[1:]
	}
	t = append(t, now)
	r.recent[key] = t
	r.s.MaxPerSecond = max(r.s.MaxPerSecond, len(t))
}

func (r *recorder) leave() {
	r.mu.Lock()
	r.s.InFlight--
	r.mu.Unlock()
}

func (r *recorder) limited() {
	r.mu.Lock()
	r.s.Limited++
	r.mu.Unlock()
}

func (r *recorder) request(i RequestInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.Requests++
	m := r.s.ByStatus[i.Endpoint]
	if m == nil {
		m = map[int]int{}
		r.s.ByStatus[i.Endpoint] = m
	}
	m[i.Status]++
	if i.Fault != "" {
		r.s.Faults[i.Fault]++
	}
}

// Stats is a copy of the figures so far.
func (p *Portal) Stats() Stats {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	s := p.stats.s
	s.Faults = maps.Clone(s.Faults)
	s.ByStatus = map[string]map[int]int{}
	for k, m := range p.stats.s.ByStatus {
		s.ByStatus[k] = maps.Clone(m)
	}
	return s
}

// ResetStats starts the figures anew.
func (p *Portal) ResetStats() { p.stats.reset() }
