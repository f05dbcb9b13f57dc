package portal

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Page sizes: what a request without pagesize gets, and the most one gets unless a fault says otherwise.
const (
	defaultPage = 20
	largestPage = 100
)

// window is a /usage request that has been understood.
type window struct {
	q          question
	page, size int
}

// parseWindow reads the parameters of /usage and reports all that is wrong with them.
func parseWindow(v url.Values, s *faultState) (window, error) {
	var x window
	var errs []error
	for _, f := range []struct {
		name string
		into *int64
	}{{"start_time", &x.q.lo}, {"end_time", &x.q.hi}} {
		text := v.Get(f.name)
		if text == "" {
			errs = append(errs, errKey(f.name+" is required"))
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > 1<<40 {
			errs = append(errs, errKey(f.name+" must be Unix seconds"))
		}
		*f.into = n
	}
	page, size, err := paging(v)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return x, err
	}
	if x.q.hi < x.q.lo {
		return x, errKey("end_time is before start_time")
	}
	if s.MaxRange > 0 && time.Duration(x.q.hi-x.q.lo)*time.Second > s.MaxRange {
		return x, errKey(fmt.Sprintf("range is longer than %v", s.MaxRange))
	}
	if s.InclusiveEnd {
		x.q.hi++
	}
	if s.ExclusiveStart {
		x.q.lo++
	}
	most := largestPage
	if s.PageMax > 0 {
		most = s.PageMax
	}
	if size > most {
		switch s.PageOver {
		case "refuse":
			return x, errKey(fmt.Sprintf("pagesize must be at most %d", most))
		case "default":
			size = min(defaultPage, most)
		default:
			size = most
		}
	}
	x.page, x.size = page, size
	return x, nil
}

// usageAPI answers GET /usage; n is the number of the request since the faults were set.
func (p *Portal) usageAPI(w *world, k use, v url.Values, s *faultState, n int64) answer {
	x, err := parseWindow(v, s)
	if err != nil {
		return invalid(err)
	}
	if s.PageClamp > 0 && n > int64(s.PageClampAfter) {
		x.size = min(x.size, s.PageClamp)
	}
	x.q.token, x.q.user, x.q.at = -1, -1, p.now().Unix()
	if id := v.Get("token_id"); id != "" {
		if x.q.token = w.tokenIndex(id); x.q.token < 0 {
			x.q.token = -2
		}
	}
	if id := v.Get("user_id"); id != "" {
		if !k.admin && id != k.user {
			return failure(http.StatusForbidden, "forbidden: only an administrator may ask for another member")
		}
		if x.q.user = w.userIndex(id); x.q.user < 0 {
			return failure(http.StatusForbidden, "forbidden: not a member of this organization")
		}
	}
	vw := p.view(w, x.q, &s.fate)
	a := p.page(vw, x, s, n)
	p.afterUsage(vw, x, s, n)
	return a
}

// order maps the i-th place of an answer to the i-th record, oldest first.
func (s *faultState) order(vw *view, request int64) func(int) int {
	q := vw.q
	switch s.Order {
	case "newest":
		return func(i int) int { return vw.n - 1 - i }
	case "random", "shaky":
		seed := hash(s.seed, uint64(q.lo), uint64(q.hi), uint64(int64(q.token)), uint64(int64(q.user)))
		if s.Order == "shaky" {
			seed = hash(seed, uint64(request))
		}
		return func(i int) int { return shuffle(i, vw.n, seed) }
	}
	return func(i int) int { return i }
}

// page writes one page of a view.
func (p *Portal) page(vw *view, x window, s *faultState, n int64) answer {
	if s.PageIgnored {
		x.page = 1
	}
	from := (x.page - 1) * x.size
	if from >= vw.n && s.PastEnd == "last" && vw.n > 0 {
		from = (vw.n - 1) / x.size * x.size
	}
	if s.DeepPage > 0 && x.page > s.DeepPage {
		from = vw.n
	}
	to := min(from+x.size, vw.n)
	order := s.order(vw, n)
	var rows []row
	if from > 0 && from < to && s.roll("duplicate", n, s.Duplicate) {
		if r, ok := vw.at(order(from - 1)); ok {
			rows = append(rows, r)
		}
	}
	for i := from; i < to; i++ {
		if r, ok := vw.at(order(i)); ok {
			rows = append(rows, r)
		}
	}
	e := encoder{s: s, b: make([]byte, 0, 256+420*len(rows))}
	e.b = append(e.b, '{')
	name := "list"
	if vw.w.shape == Summary {
		name = "records"
	}
	if len(rows) == 0 && (s.NullList || (s.PastEnd == "null" && x.page > 1)) {
		e.raw(name, "null")
	} else {
		e.raw(name, "[")
		for i, r := range rows {
			if i > 0 {
				e.b = append(e.b, ',')
			}
			if vw.w.shape == Summary {
				e.summary(vw.w, r)
			} else {
				e.record(vw.w, r)
			}
		}
		e.b = append(e.b, ']')
	}
	if vw.w.shape == Summary {
		e.num("total_tokens", vw.tokens(), 0)
	} else {
		e.total(vw.n, len(rows))
	}
	if s.UnknownFields {
		e.raw("next_cursor", `"c_`+strconv.Itoa(to)+`"`)
	}
	e.b = append(e.b, '}')
	return answer{data: e.b}
}

func (e *encoder) total(n, here int) {
	n += e.s.TotalDelta
	switch e.s.Total {
	case "page":
		e.raw("total", strconv.Itoa(here))
	case "absent":
	case "null":
		e.raw("total", "null")
	case "string":
		e.raw("total", `"`+strconv.Itoa(n)+`"`)
	default:
		e.raw("total", strconv.Itoa(n))
	}
}

func (e *encoder) summary(w *world, r row) {
	e.b = append(e.b, '{')
	e.num("timestamp", r.sec, 0)
	e.num("tokens", r.tokens(), 0)
	e.str("model", w.models[r.model].name)
	if e.s.UnknownFields {
		e.str("region", "eu-1")
	}
	e.b = append(e.b, '}')
}

// afterUsage lets happen what happens while a window is being paged.
func (p *Portal) afterUsage(vw *view, x window, s *faultState, n int64) {
	if s.ArriveEvery == 0 && s.DropEvery == 0 {
		return
	}
	or := func(n, instead int) int {
		if n == 0 {
			return instead
		}
		return n
	}
	p.mu.Lock()
	name := fmt.Sprint(vw.w.org, x.q.lo, x.q.hi, x.q.token, x.q.user)
	p.windows[name]++
	k := p.windows[name]
	arrive := s.ArriveEvery > 0 && k%s.ArriveEvery == 0 && p.arrived < or(s.ArriveMax, 8) && vw.q.hi > vw.q.lo
	drop := s.DropEvery > 0 && k%s.DropEvery == 0 && p.dropped < or(s.DropMax, 8) && vw.n > 0
	if arrive {
		p.arrived++
	}
	if drop {
		p.dropped++
	}
	p.mu.Unlock()
	r := rng(hash(s.seed, 99, hashString(name), uint64(k)))
	if drop {
		if r, ok := vw.at(r.n(vw.n)); ok {
			vw.w.drop(r.rec, vw.q.at)
		}
	}
	if arrive {
		vw.w.arrive(&r, vw.q.lo, vw.q.hi, vw.q.at)
	}
}
