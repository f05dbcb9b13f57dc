package finance

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

	"golang.org/x/sync/singleflight"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

const (
	// keptBytes is how much of pages is kept, of one published file.
	keptBytes = 64 << 20
	// mostAsking is how many statements of people's own run at once.
	mostAsking = 2
	// makeLimit is how long a page may take to be made, and carveLimit a file to be carved; that goes on when who
	// asked for it is told after carveWait to come again.
	makeLimit  = 30 * time.Second
	carveLimit = 10 * time.Minute
	carveWait  = 20 * time.Second
)

var (
	errMoved  = errors.New("the published file can't be read now")
	errCarved = errors.New("the file of the viewer is being made")
)

// library gives each who asks the file that may answer him. It is the one place that knows more than one file: what a
// reader gets has no way to another.
//
// mu guards now. An edition is of one published file; a request that began on it ends on it, whatever is published
// meanwhile, and what was carved out of it goes when the last of these has ended.
type library struct {
	open func() (*publish.Lake, error)
	// Who makes something, each by an instance of DuckDB. Statements of people's own, which may take long, have a place
	// of theirs, so that no page waits for them.
	making, asking chan struct{}

	mu  sync.Mutex
	now *edition
}

func newLibrary(open func() (*publish.Lake, error)) *library {
	return &library{open: open, making: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		asking: make(chan struct{}, mostAsking)}
}

// edition is a published file, what was carved out of it, and pages that were made of it.
type edition struct {
	path string
	info fs.FileInfo
	lake *publish.Lake

	flights singleflight.Group

	mu      sync.Mutex
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

// reader is one request's way to the file that may answer it.
type reader struct {
	lib   *library
	of    *edition
	who   query.Scope // what his file was carved for; none sees all
	scope string      // its name; "" sees all
	lake  *publish.Lake
}

// reader finds the file for who asks. close must be called.
func (l *library) reader(ctx context.Context, who *Who) (*reader, error) {
	e, err := l.edition()
	if err != nil {
		return nil, err
	}
	r := &reader{lib: l, of: e, lake: e.lake}
	if who.All {
		return r, nil
	}
	// From here on the whole file is out of reach.
	r.lake, r.who = nil, who.Scope
	name, err := json.Marshal(who.Scope)
	if err == nil {
		r.scope = string(name)
		r.lake, err = l.carved(ctx, e, r.scope, who.Scope)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() {
	r.of.mu.Lock()
	r.of.readers--
	r.of.mu.Unlock()
	r.of.clear()
}

// edition is that of the file that is published now, with one reader more.
func (l *library) edition() (*edition, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lake, err := l.open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMoved, err)
	}
	info, err := os.Stat(lake.Database())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMoved, err)
	}
	old := l.now
	if old == nil || old.path != lake.Database() || !os.SameFile(old.info, info) ||
		!old.info.ModTime().Equal(info.ModTime()) || old.info.Size() != info.Size() {
		l.now = &edition{path: lake.Database(), info: info, lake: lake, shelves: map[string]*shelf{},
			pages: map[string]*list.Element{}, order: list.New()}
		if old != nil {
			old.mu.Lock()
			old.gone = true
			old.mu.Unlock()
			old.clear()
		}
	}
	l.now.mu.Lock()
	l.now.readers++
	l.now.mu.Unlock()
	return l.now, nil
}

// stop lets go of what was carved.
func (l *library) stop() {
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
func (l *library) carved(ctx context.Context, e *edition, name string, scope query.Scope) (*publish.Lake, error) {
	e.mu.Lock()
	s := e.shelves[name]
	e.mu.Unlock()
	if s != nil {
		return s.lake, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, carveWait, errCarved)
	defer cancel()
	made, err := l.once(ctx, e, l.making, carveLimit, "carve "+name, func(ctx context.Context) (any, error) {
		dir, drop, err := e.lake.Scratch()
		if err != nil {
			return nil, err
		}
		to, err := publish.Create(filepath.Join(dir, "lake"), publish.Options{Records: schemas.AllRecords})
		if err == nil {
			err = query.Carve(ctx, e.lake, to, scope)
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

// once has something made by one who asks for it, for all who ask meanwhile. It goes on if they go away: the next one
// has it then.
func (l *library) once(ctx context.Context, e *edition, places chan struct{}, limit time.Duration, name string,
	make func(context.Context) (any, error)) (any, error) {
	e.mu.Lock()
	e.readers++ // whoever makes it reads, too
	e.mu.Unlock()
	done := e.flights.DoChan(name, func() (out any, err error) {
		e.mu.Lock()
		e.readers++
		e.mu.Unlock()
		defer func() {
			e.mu.Lock()
			e.readers--
			e.mu.Unlock()
			e.clear()
		}()
		defer schemas.Guard(&err)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return make(ctx)
	})
	defer func() {
		e.mu.Lock()
		e.readers--
		e.mu.Unlock()
		e.clear()
	}()
	select {
	case res := <-done:
		return res.Val, res.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// kept is what was made of the file under a name, or is made now; size tells how much of the room it takes.
func (r *reader) kept(ctx context.Context, name string,
	make func(context.Context, *publish.Lake) (any, int, error)) (any, error) {
	return r.keptBy(ctx, r.lib.making, name, make)
}

// keptBy is kept, at one of some places.
func (r *reader) keptBy(ctx context.Context, places chan struct{}, name string,
	make func(context.Context, *publish.Lake) (any, int, error)) (any, error) {
	key := r.scope + "\x00" + name
	if page, ok := r.of.find(key); ok {
		return page, nil
	}
	return r.lib.once(ctx, r.of, places, makeLimit, key, func(ctx context.Context) (any, error) {
		if page, ok := r.of.find(key); ok {
			return page, nil
		}
		page, size, err := make(ctx, r.lake)
		if err == nil {
			r.of.keep(&kept{key, page, size + len(key)})
		}
		return page, err
	})
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
