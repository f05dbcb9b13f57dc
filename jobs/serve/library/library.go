package library

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

const (
	// keptBytes is how much of pages is kept, of one published file.
	keptBytes = 64 << 20
	// mostAsking is how many statements of people's own run at once.
	mostAsking = 2
	// MakeLimit is how long a page may take to be made, CompareLimit what is made at Comparing, and carveLimit a file to
	// be carved; what takes minutes goes on when who asked for it is told after LongWait to come again.
	MakeLimit    = 30 * time.Second
	CompareLimit = 5 * time.Minute
	carveLimit   = 10 * time.Minute
	LongWait     = 20 * time.Second
	// placeWait is how long a place is waited for, before any of these begins.
	placeWait = 20 * time.Second
	// AnswerLimit is how long an answer may take, of three things at the most that are made at Making or Asking, one after
	// the other, on the file of who asks.
	AnswerLimit = LongWait + 3*(placeWait+MakeLimit)
)

// What keeps somebody from being answered now.
var (
	ErrMoved  = errors.New("the published file can't be read now")
	ErrCarved = errors.New("the file of the viewer is being made")
	ErrBusy   = errors.New("everything that can be made at once is under way")
)

// Sight is what somebody may see. The zero value is nothing: no file is made for it.
type Sight struct {
	All   bool
	Scope query.Scope // of who doesn't see all
}

// Place is where something is made. Of each there are so many, so that who waits for one holds up nobody at another.
type Place int

// The places: statements of people's own, which may take long, have some of theirs, and so has what takes minutes, so
// that no page waits for them.
const (
	Making Place = iota
	Asking
	Comparing
	allPlaces
)

func (at Place) limit() time.Duration {
	if at == Comparing {
		return CompareLimit
	}
	return MakeLimit
}

// Library gives each who asks the file that may answer him. It is the one place that knows more than one file: what a
// Reader gets has no way to another.
//
// mu guards now. An edition is of one published file; a request that began on it ends on it, whatever is published
// meanwhile, and what was carved out of it goes when the last of these has ended.
type Library struct {
	open  func() (*publish.Lake, error)
	users func() (query.EndUsers, error) // what who doesn't see all sees of end users' ids
	limit time.Duration                  // of a statement of people's own
	// Who makes something, each by an instance of DuckDB.
	places [allPlaces]*room

	mu  sync.Mutex
	now *edition
}

// New makes a Library of the lake that open gives, which is asked at each request: it may be another one by then. users
// says what a file that is carved has of end users' ids; nil: all. Close lets go of what was made.
func New(open func() (*publish.Lake, error), users func() (query.EndUsers, error)) *Library {
	if users == nil {
		users = func() (query.EndUsers, error) { return query.EndUsers{}, nil }
	}
	return &Library{open: open, users: users, limit: SQLLimit, places: [allPlaces]*room{
		Making: newRoom(max(2, runtime.GOMAXPROCS(0))), Asking: newRoom(mostAsking), Comparing: newRoom(1)}}
}

// edition is a published file, what was carved out of it, and pages that were made of it.
type edition struct {
	path string
	info fs.FileInfo
	lake *publish.Lake

	mu      sync.Mutex
	flights map[string]*flight // by the name of what is being made
	proved  map[string]proof   // by the paths of files of closed months
	wanted  []wanted           // what was asked for, the last first
	before  []wanted           // what was of the file before
	readers int
	gone    bool // another is published
	shelves map[string]*shelf
	pages   map[string]*list.Element
	order   *list.List // of *kept, the one asked for last first
	bytes   int
}

type shelf struct {
	lake *publish.Lake
	drop func()
}

type kept struct {
	key  string
	page any
	size int
}

// Reader is one request's way to the file that may answer it.
type Reader struct {
	Scope query.Scope   // what the file was carved for; none sees all
	Lake  *publish.Lake // has the file
	lib   *Library
	of    *edition
	scope string // the name of Scope; "" sees all
	ahead bool   // nobody waits for what it makes
}

// Reader finds the file for who asks. Close must be called. The errors are ErrMoved, ErrCarved and those of a carving.
func (l *Library) Reader(ctx context.Context, who Sight) (*Reader, error) {
	return l.readerOf(ctx, who, false)
}

func (l *Library) readerOf(ctx context.Context, who Sight, ahead bool) (*Reader, error) {
	e, err := l.edition()
	if err != nil {
		return nil, err
	}
	r := &Reader{lib: l, of: e, Lake: e.lake, ahead: ahead}
	if who.All {
		return r, nil
	}
	// From here on the whole file is out of reach.
	r.Lake, r.Scope = nil, who.Scope
	name, err := json.Marshal(who.Scope)
	if err == nil {
		r.scope = string(name)
		r.Lake, err = l.carved(ctx, r, who.Scope)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// SeesAll says whether who asks may see everything.
func (r *Reader) SeesAll() bool { return r.scope == "" }

// Close ends the request.
func (r *Reader) Close() { r.of.release() }

// hold has the edition stay until release.
func (e *edition) hold() {
	e.mu.Lock()
	e.readers++
	e.mu.Unlock()
}

func (e *edition) release() {
	e.mu.Lock()
	e.readers--
	e.mu.Unlock()
	e.clear()
}

// Within is a scope, and where it leaves open what the reader's says, that.
func (r *Reader) Within(scope query.Scope) query.Scope {
	for _, d := range query.ScopeDimensions {
		if values := scope.Values(d); len(*values) == 0 {
			*values = *r.Scope.Values(d)
		}
	}
	return scope
}

// edition is that of the file that is published now, with one reader more.
func (l *Library) edition() (*edition, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lake, err := l.open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMoved, err)
	}
	info, err := os.Stat(lake.Database())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMoved, err)
	}
	old := l.now
	if old == nil || old.path != lake.Database() || !durable.Unchanged(old.info, info) {
		l.now = &edition{path: lake.Database(), info: info, lake: lake, shelves: map[string]*shelf{},
			pages: map[string]*list.Element{}, order: list.New(), proved: map[string]proof{}, flights: map[string]*flight{}}
		if old != nil {
			l.now.before = old.after()
			old.mu.Lock()
			old.gone = true
			old.mu.Unlock()
			old.clear()
		}
	}
	l.now.hold()
	return l.now, nil
}

// Close removes the files that were carved.
func (l *Library) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		l.now.mu.Lock()
		l.now.gone = true
		l.now.mu.Unlock()
		l.now.clear()
		l.now = nil
	}
}

// clear removes what was carved out of a file that is published no more, when nobody reads it.
func (e *edition) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.gone || e.readers > 0 {
		return
	}
	for _, s := range e.shelves {
		s.drop()
	}
	e.shelves = map[string]*shelf{}
}

// carved is the file of a scope, which is made once of each published file.
func (l *Library) carved(ctx context.Context, r *Reader, scope query.Scope) (*publish.Lake, error) {
	e, name := r.of, r.scope
	e.mu.Lock()
	s := e.shelves[name]
	e.mu.Unlock()
	if s != nil {
		return s.lake, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, LongWait, ErrCarved)
	defer cancel()
	made, err := r.once(ctx, Making, carveLimit, "carve "+name, func(ctx context.Context) (any, error) {
		users, err := l.users()
		if err != nil {
			return nil, err
		}
		dir, drop, err := e.lake.Scratch()
		if err != nil {
			return nil, err
		}
		to, err := publish.Create(filepath.Join(dir, "lake"), publish.Options{Records: schemas.AllRecords})
		if err == nil {
			err = query.Carve(ctx, e.lake, to, scope, users)
		}
		if err != nil {
			drop()
			return nil, err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.shelves[name] = &shelf{to, drop}
		return to, nil
	})
	if err != nil {
		return nil, err
	}
	return made.(*publish.Lake), nil
}

// notKept is the size of what is told once.
const notKept = -1

// Kept is what was made of the file under a name, or is made now; size tells how much of the room it takes. What is
// made is the same for all who see the same, so a name says all that it hangs on. Nothing may write to it.
func (r *Reader) Kept(ctx context.Context, at Place, name string,
	make func(context.Context, *publish.Lake) (made any, size int, err error)) (any, error) {
	key := r.scope + "\x00" + name
	if page, ok := r.of.find(key); ok {
		return page, nil
	}
	return r.once(ctx, at, at.limit(), key, func(ctx context.Context) (any, error) {
		if page, ok := r.of.find(key); ok {
			return page, nil
		}
		page, size, err := make(ctx, r.Lake)
		if err == nil && size != notKept {
			r.of.keep(&kept{key, page, size + len(key)})
		}
		return page, err
	})
}

// Made is Kept for what is large and asked for but once: it is made for each who asks, but for those who ask meanwhile.
func (r *Reader) Made(ctx context.Context, at Place, name string, make func(context.Context) (any, error)) (any,
	error) {
	return r.once(ctx, at, at.limit(), r.scope+"\x00"+name, make)
}

func (e *edition) find(key string) (any, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, ok := e.pages[key]
	if !ok {
		return nil, false
	}
	e.order.MoveToFront(at)
	return at.Value.(*kept).page, true
}

func (e *edition) keep(k *kept) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.pages[k.key]; ok || k.size > keptBytes/4 {
		return
	}
	e.pages[k.key] = e.order.PushFront(k)
	for e.bytes += k.size; e.bytes > keptBytes; {
		last := e.order.Remove(e.order.Back()).(*kept)
		delete(e.pages, last.key)
		e.bytes -= last.size
	}
}
