package extract

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Page sizes. A large page is asked for once; what comes is learnt.
const (
	LargePage = 1000
	smallPage = 100
)

// Learnt is what a server has shown of itself. What one run learnt may be given to the next, from the sealed windows.
// It decides how windows are asked for, and when a total that agrees with its listing is looked at once more; it is no
// proof of anything.
type Learnt struct {
	PageSize int // that it answers with so many records; 0 if it isn't known
	// Most is the largest total that agreed with its listing.
	Most int64
	// Beyond: a total counted more than the records of its own answer, and they came.
	Beyond bool
	// Lag and Lead are how many seconds more than [Margin] are asked for behind the end and ahead of the start of a
	// window, because the server's filter goes by a later or an earlier time than its records show.
	Lag, Lead int64
}

// server is a Learnt at work: what is asked for goes by it, in all windows of an account. What it has learnt wrong
// costs requests, never a record.
type server struct {
	log    *slog.Logger
	memory int // records that a window may hold at the most, for the memory they take

	// mu guards all below. No other lock is taken while it is held. What is learnt of several windows at once is learnt of
	// whichever comes first: a size or a bound that another window has lowered meanwhile stays lowered.
	mu sync.Mutex
	Learnt
	size       int   // of a page, to ask for
	answered   bool  // a size was answered with a page
	settled    bool  // what comes for a large page is known
	longest    int   // records in the longest page so far
	listed     int   // records in the longest listing so far
	maxPages   int   // how deep it pages, as far as it has shown
	endedAt    int   // the pages of the last window that seemed to end for its depth
	maxTotal   int64 // beyond which its totals don't count; 0 if they do
	maxSeconds int64 // how long a range it takes
	useless    bool  // the last window whose total was held against its listing did not agree

	// Of this Fetch alone, for an outage ends and a horizon moves.
	blanks  bool            // it has answered empty where there was something
	refuses *schemas.Window // the earliest that it won't answer for, whatever the page or the range; nil: none
}

// newServer is the server as far as opts know it.
func newServer(opts FetchOptions) *server {
	s := &server{log: opts.Logger, memory: 2 * opts.MaxRecords, Learnt: opts.Known, size: opts.PageSize, settled: true,
		maxPages: maxPages, maxSeconds: math.MaxInt64 / 2}
	switch {
	case opts.PageSize > 0:
	case opts.Known.PageSize > 0:
		s.size = opts.Known.PageSize
	default:
		s.size, s.settled = LargePage, false
	}
	return s
}

// begin forgets what held for an earlier Fetch alone.
func (s *server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blanks, s.refuses = false, nil
}

// learnt is what may be given to the next run. A size of pages that nothing has confirmed isn't.
func (s *server) learnt() Learnt {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.Learnt
	if s.settled {
		l.PageSize = s.size
	}
	return l
}

// pageSize is what to ask for.
func (s *server) pageSize() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// longestPage is how many records the longest page held so far.
func (s *server) longestPage() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.longest
}

// page learns from a first page of n records that was asked for with size; more says that a second one brought more.
func (s *server) page(size, n int, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = true
	s.longest = max(s.longest, n)
	switch {
	case n == 0 || size > s.size: // nothing to learn, or learnt already
	case n >= size:
		s.settled = true
	case more:
		// It gives fewer than it is asked for: so many at most, or its default because it was asked for too many.
		s.settled = true
		if size > smallPage && n < smallPage {
			n = smallPage
		}
		s.size = min(s.size, n)
		s.log.Info("the API gives smaller pages than it was asked for", "asked", size, "from now on", s.size)
	}
}

// refuse lowers the page size after the server refused one, until a size has been answered. When every size is refused
// the size is not what is wrong, and it is as before: it returns false.
func (s *server) refuse(size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size < size {
		return true // another window has lowered it
	}
	if s.answered {
		return false
	}
	for _, smaller := range []int{smallPage, 50, 20, 10} {
		if smaller < size {
			s.size, s.settled = smaller, true
			return true
		}
	}
	s.answered = true
	return false
}

// tooLarge lowers the page size after an answer that was larger than is read. It returns false if a page of one record
// is.
func (s *server) tooLarge(size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size <= 1 {
		return false
	}
	s.size, s.settled = min(s.size, max(1, size/10)), true
	return true
}

// isAnswered says that a size of pages was answered, so that the next windows know what to ask for.
func (s *server) isAnswered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered
}

// longestRange is how long a window it takes, in seconds.
func (s *server) longestRange() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(1, s.maxSeconds)
}

// lists learns that a listing had so many records.
func (s *server) lists(records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed = max(s.listed, records)
}

// listsMore says that a listing had more than so many records, so that none ends there by a limit.
func (s *server) listsMore(records int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed > records
}

// agreed learns that a total agreed with its listing: that of a window of so many pages, or of the halves of one.
func (s *server) agreed(total int64, beyond bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Most = max(s.Most, total)
	s.Beyond = s.Beyond || beyond
	s.useless = false
}

// disagreed learns that the total of a window was of no use.
func (s *server) disagreed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.useless = true
}

// doubts says that the total of a pass that agrees with its listing may be the doing of a limit that they share: of a
// page on the records, of the server on both.
func (s *server) doubts(p *pass) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := *p.announced()
	if s.maxTotal > 0 && a >= s.maxTotal {
		return true
	}
	if a > s.Most || a == s.Most && a >= fewest || a%int64(max(1, p.longest)) == 0 && p.brimful(s.longest) {
		return true
	}
	return len(p.pages) == 1 && (!s.Beyond || a%10 == 0) // limits are round numbers
}

// isUseless says that the last total was of no use.
func (s *server) isUseless() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.useless
}

// capped learns that totals end at one.
func (s *server) capped(w schemas.Window, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maxTotal == 0 || total < s.maxTotal {
		s.maxTotal = max(1, total)
		s.log.Warn("the API's total ends at a limit: windows are kept below it", "window", w.String(), "total", total)
	}
}

// shallow learns that it pages no deeper than so many pages, once two windows have ended there.
func (s *server) shallow(w schemas.Window, pages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.endedAt
	if s.endedAt = max(1, pages); pages == before && pages < s.maxPages {
		s.maxPages = pages
		s.log.Warn("the API pages less deep than it has records: windows are kept shorter",
			"window", w.String(), "max_pages", pages)
	}
}

// refusesRange learns that a range was too long.
func (s *server) refusesRange(w schemas.Window, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = true
	s.maxSeconds = min(s.maxSeconds, w.Seconds()/2)
	s.log.Warn("the API refuses a range of this length: windows are kept shorter", "window", w.String(),
		"max", time.Duration(s.maxSeconds)*time.Second, "error", err)
}

// blank learns that it has answered empty where there was something.
func (s *server) blank() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blanks = true
}

// knowsBlanks says that an empty answer is to be believed only after many looks.
func (s *server) knowsBlanks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blanks
}

// refusesWindow learns that it won't answer for a window, whatever the page or the range.
func (s *server) refusesWindow(w schemas.Window) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuses == nil || w.Start.Before(s.refuses.Start) {
		s.refuses = &w
	}
}

// forgiven forgets the windows that it wouldn't answer for, once it is decided what they are.
func (s *server) forgiven() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = nil
}

// wasRefused says that it has refused a window that w is a part of or follows, and that no other size of page or range
// helps.
func (s *server) wasRefused(w schemas.Window) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refuses != nil && !s.refuses.Start.After(w.Start)
}

// asks is what to ask for a window: all of it, and the margins that hold what the server's filter gives for it.
func (s *server) asks(w schemas.Window) ask {
	before, behind := s.margins()
	return ask{window: w, start: w.Start.Unix() - before, end: w.End.Unix() + behind}
}

// margins are how many seconds more than a window are to be asked for, ahead of its start and behind its end.
func (s *server) margins() (before, behind int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Margin + s.Lead, s.Lag
}

// maxMargin bounds what is asked for beyond a window: a record further off is none of its.
const maxMargin = int64(schemas.MaxLag / time.Second)

// strays learns from the records of a pass that lie outside of what was asked for, early before and late behind it (in
// seconds, 0 for none): the filter goes by another time than they show. A call that was under way as a window began
// shows a part of what its time can be off by, so more than that is asked for. It reports whether that is more than the
// pass asked for.
func (s *server) strays(w schemas.Window, early, late int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	widen := func(margin *int64, off int64) bool {
		if off == 0 || *margin >= off {
			return false
		}
		*margin = min(off+max(off/4, 60), maxMargin)
		return true
	}
	lag, lead := widen(&s.Lag, early), widen(&s.Lead, late)
	if lag || lead {
		s.log.Info("the API's filter goes by another time than its records show: more is asked for around each window",
			"window", w.String(), "before", time.Duration(s.Lead)*time.Second, "behind", time.Duration(s.Lag)*time.Second)
	}
	return lag || lead
}

// widen doubles how much more is asked for behind a window. It returns false if that is at its end.
func (s *server) widen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Lag >= maxMargin {
		return false
	}
	s.Lag = min(max(2*s.Lag, 60), maxMargin)
	return true
}

// most is how many records a window should hold at the most. It is more than windows are planned for, so that one of
// the busy hours is not split for being busier than the day.
func (s *server) most() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := min(float64(s.memory), float64(s.maxPages)*float64(s.size))
	if s.maxTotal > 0 {
		most = min(most, float64(s.maxTotal)*0.75)
	}
	return most
}

// parts is into how many windows so many records are to be split: into one if they fit.
func parts(records, most float64) int {
	if records <= most {
		return 1
	}
	return int(min(records/(0.75*most), 47)) + 1
}
