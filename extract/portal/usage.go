package portal

import (
	"errors"
	"fmt"
	"math"
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
	clamp      int // the size of pages from number clampFrom on; 0 is that of all others
	clampFrom  int
}

// offset is where a page begins in the listing, and how many records it holds at most.
func (w window) offset(page int) (from, size int) {
	if w.clamp == 0 || page < w.clampFrom {
		return (page - 1) * w.size, w.size
	}
	return (w.clampFrom-1)*w.size + (page-w.clampFrom)*w.clamp, w.clamp
}

// last is the number of the page that ends a listing of n records, of which there is at least one.
func (w window) last(n int) int {
	if large := (w.clampFrom - 1) * w.size; w.clamp > 0 && n > large {
		return w.clampFrom + (n-large-1)/w.clamp
	}
	return (n-1)/w.size + 1
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
	most := largestPage
	if s.PageMax > 0 {
		most = s.PageMax
	}
	usual := min(defaultPage, most)
	if s.PageDefault > 0 {
		usual = s.PageDefault
	}
	page, size, err := paging(v, usual)
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
	switch {
	case s.SizeIgnored:
		size = usual
	case size <= most || v.Get("pagesize") == "":
	case s.PageOver == "refuse":
		return x, errKey(fmt.Sprintf("pagesize must be at most %d", most))
	case s.PageOver == "default":
		size = usual
	default:
		size = most
	}
	x.page, x.size = page, size
	return x, nil
}

// clamped makes a window's pages smaller as the faults want it.
func (s *faultState) clamped(w window, request int64) window {
	switch {
	case s.PageClamp == 0 || s.PageClamp >= w.size || request <= int64(s.PageClampAfter):
	case s.PageClampFrom > 1 && !s.PageClampBack:
		w.clamp, w.clampFrom = s.PageClamp, s.PageClampFrom
	case w.page >= s.PageClampFrom:
		w.size = s.PageClamp
	}
	return w
}

// usage answers GET /usage.
func (x *exchange) usage(w *world, k use) answer {
	p, s, v := x.p, x.s, x.r.URL.Query()
	win, err := parseWindow(v, s)
	if err != nil {
		return invalid(err)
	}
	win = s.clamped(win, x.n)
	q := &win.q
	q.token, q.user, q.at = -1, -1, p.now().Unix()
	if s.FilterIgnored {
		v.Del("token_id")
		v.Del("user_id")
	}
	if id := v.Get("token_id"); id != "" {
		if q.token = w.tokenIndex(id); q.token < 0 {
			q.token = -2
		}
	}
	if id := v.Get("user_id"); id != "" {
		if !k.admin && id != k.user {
			return failure(http.StatusForbidden, "forbidden: only an administrator may ask for another member")
		}
		if q.user = w.userIndex(id); q.user < 0 {
			return failure(http.StatusForbidden, "forbidden: not a member of this organization")
		}
	}
	kept := *q
	if s.Keep > 0 {
		oldest := q.at - int64(s.Keep/time.Second)
		switch {
		case q.lo >= oldest:
		case s.KeepAnswer == "400":
			return invalid(errKey("start_time is before the oldest record kept"))
		case s.KeepAnswer == "404":
			return failure(http.StatusNotFound, "not found: start_time is before the oldest record kept")
		}
		kept.lo = max(q.lo, oldest)
	}
	vw := p.view(w, kept, &s.fate)
	a := x.page(vw, win)
	p.afterUsage(vw, win, s, x.n)
	return a
}

// order maps the i-th place of an answer to the i-th record, oldest first.
func (s *faultState) order(vw *view, win window, request int64) func(int) int {
	q := win.q
	place := func(i int) int { return i }
	switch s.Order {
	case "newest":
		place = func(i int) int { return vw.n - 1 - i }
	case "random", "shaky":
		seed := hash(s.seed, uint64(q.lo), uint64(q.hi), uint64(int64(q.token)), uint64(int64(q.user)))
		if s.Order == "shaky" {
			seed = hash(seed, uint64(request))
		}
		return func(i int) int { return shuffle(i, vw.n, seed) }
	}
	if s.Ties == "" {
		return place
	}
	seed := hash(s.seed, hashString("ties"), uint64(win.page), uint64(win.size))
	if s.Ties == "request" {
		seed = hash(seed, uint64(request))
	}
	span := max(int64((s.TieSpan+time.Second-1)/time.Second), 1)
	var lo, hi int // where the equals of the record before stand
	var key int64
	return func(i int) int {
		if i = place(i); i < lo || i >= hi {
			lo, hi, key = vw.equals(i, span)
		}
		return lo + shuffle(i-lo, hi-lo, hash(seed, uint64(key)))
	}
}

// page writes the page of a view that was asked for.
func (x *exchange) page(vw *view, win window) answer {
	s := x.s
	if x.fails("blank", s.Blank) {
		return x.listing(&view{w: vw.w}, nil, win.page, 0)
	}
	if s.PageIgnored {
		win.page = 1
	}
	n := vw.n
	if s.TotalCap > 0 {
		n = min(n, s.TotalCap)
	}
	from, size := win.offset(win.page)
	if from >= n && win.page > 1 {
		switch s.PastEnd {
		case "400":
			return invalid(errKey("page is past the end"))
		case "404":
			return failure(http.StatusNotFound, "not found: page is past the end")
		case "last":
			if n > 0 {
				from, size = win.offset(win.last(n))
			}
		}
	}
	if (s.DeepPage > 0 && win.page > s.DeepPage) || (win.page > 1 && from < n && x.fails("blank-page", s.BlankPage)) {
		from = n
	}
	order := s.order(vw, win, x.n)
	var rows []row
	take := func(i int) {
		if r, ok := vw.at(order(i)); ok {
			rows = append(rows, r)
		}
	}
	if from > 0 && from < n && s.roll("duplicate", x.n, s.Duplicate) {
		take(from - 1)
	}
	for i := from; i < min(from+size, n); i++ {
		take(i)
	}
	return x.listing(vw, rows, win.page, n)
}

// listing answers with the rows of a page and the total n.
func (x *exchange) listing(vw *view, rows []row, page, n int) answer {
	s := x.s
	e := encoder{s: s, b: make([]byte, 0, 256+420*len(rows))}
	e.b = append(e.b, '{')
	name := "list"
	if vw.w.shape == Summary {
		name = "records"
	}
	if len(rows) == 0 && (s.NullList || (s.PastEnd == "null" && page > 1)) {
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
	} else if t := s.total(n, len(rows), x.n); t != "" {
		e.raw("total", t)
	}
	if s.UnknownFields {
		e.raw("next_cursor", `"c_`+strconv.FormatInt(x.n, 10)+`"`)
	}
	e.b = append(e.b, '}')
	return answer{data: e.b}
}

// total is the JSON of total for n records, here of them on this page; empty if it is left out.
func (s *faultState) total(n, here int, request int64) string {
	if s.TotalCapOnly > 0 {
		n = min(n, s.TotalCapOnly)
	}
	switch s.Total {
	case "page":
		n = here
	case "absent":
		return ""
	case "null":
		return "null"
	case "string":
		return `"` + strconv.Itoa(n+s.TotalDelta) + `"`
	case "random":
		n = int(hash(s.seed, hashString("total"), uint64(request)) % uint64(2*n+100))
	case "huge":
		return strconv.Itoa(math.MaxInt64)
	default:
		n += s.TotalDelta
	}
	return strconv.Itoa(n)
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
func (p *Portal) afterUsage(vw *view, win window, s *faultState, n int64) {
	if s.ArriveEvery == 0 && s.DropEvery == 0 && s.SwapEvery == 0 {
		return
	}
	q := win.q
	name := fmt.Sprint(vw.w.org, q.lo, q.hi, q.token, q.user)
	p.mu.Lock()
	p.windows[name]++
	k := p.windows[name]
	due := func(every, most int, done *int, possible bool) bool {
		if most == 0 {
			most = 8
		}
		if every == 0 || k%every != 0 || *done >= most || !possible {
			return false
		}
		*done++
		return true
	}
	swap := due(s.SwapEvery, s.SwapMax, &p.swapped, vw.n > 0)
	arrive := due(s.ArriveEvery, s.ArriveMax, &p.arrived, vw.q.hi > vw.q.lo)
	drop := due(s.DropEvery, s.DropMax, &p.dropped, vw.n > 0)
	p.mu.Unlock()
	r := rng(hash(s.seed, 99, hashString(name), uint64(k)))
	for _, x := range []struct{ drop, arrive bool }{{swap, swap}, {drop, arrive}} {
		if x.drop {
			if gone, ok := vw.at(r.n(vw.n)); ok {
				vw.w.drop(gone.rec, vw.q.at)
			}
		}
		if x.arrive {
			vw.w.arrive(&r, vw.q, &s.fate)
		}
	}
}
