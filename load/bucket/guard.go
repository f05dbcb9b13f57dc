package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"time"
)

// store is how one kind of store is spoken to. Keys are whole, prefix and all, and were looked at. Each method is one
// try; its errors are *Error where there is more to say than the cause, and without Op and URL.
type store interface {
	get(ctx context.Context, key string) (io.ReadCloser, Object, error)
	put(ctx context.Context, key string, body Body, on On) (Tag, error)
	// page is a part of a listing, from where the one before ended ("" at first); next is "" at its end.
	page(ctx context.Context, prefix, from string) (list []Object, next string, err error)
	delete(ctx context.Context, key string) error
}

// guard is what every Bucket has in common: keys are looked at, what passes is tried again, errors say of what.
type guard struct {
	store store
	at    address
}

const (
	tries     = 5
	firstWait = 100 * time.Millisecond // doubled after each try, less a random part
	maxWait   = 20 * time.Second       // whatever a store asks for
)

func (g *guard) URL() string { return g.at.String() }

func (g *guard) url(key string) string { return g.at.String() + "/" + key }

func (g *guard) check(op, key string) error {
	err := CheckKey(key)
	if err == nil {
		err = CheckKey(g.at.key(key)) // how long it is
	}
	if err != nil {
		return &Error{Op: op, URL: g.at.String(), Err: err}
	}
	return nil
}

func (g *guard) Get(ctx context.Context, key string) (r io.ReadCloser, o Object, err error) {
	if err := g.check("get", key); err != nil {
		return nil, o, err
	}
	err = again(ctx, func() error {
		r, o, err = g.store.get(ctx, g.at.key(key))
		return err
	})
	if err != nil {
		return nil, Object{}, dress(err, "get", g.url(key))
	}
	o.Key = key
	return &reading{ReadCloser: r, url: g.url(key), size: o.Size}, o, nil
}

// reading counts what comes of an object, and names it in what goes wrong.
type reading struct {
	io.ReadCloser
	url  string
	size int64 // -1 if the store didn't say
	n    int64
}

func (r *reading) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.n += int64(n)
	if err == io.EOF && r.size >= 0 && r.n != r.size {
		err = fmt.Errorf("%d bytes of %d came: %w", r.n, r.size, io.ErrUnexpectedEOF)
	}
	if err != nil && err != io.EOF {
		err = dress(plain(err), "get", r.url)
	}
	return n, err
}

func (g *guard) Put(ctx context.Context, key string, body Body, on On) (tag Tag, err error) {
	if err := g.check("put", key); err != nil {
		return "", err
	}
	if on.Absent && on.Match != "" {
		return "", &Error{Op: "put", URL: g.url(key), Err: errors.New("it can't depend on both a state and none")}
	}
	if body.Type == "" {
		body.Type = "application/octet-stream"
	}
	err = again(ctx, func() error {
		tag, err = g.store.put(ctx, g.at.key(key), body, on)
		if e, ok := err.(*Error); ok && on != (On{}) {
			if errors.Is(e, ErrUnsure) {
				e.again = false
			} else if e.cut && !g.holds(ctx, key, on) {
				return &Error{Err: ErrTaken}
			}
		}
		return err
	})
	if err != nil {
		e := dress(err, "put", g.url(key))
		if errors.Is(e, errConflict) { // whoever wants to know whose write that was reads it
			e.Err = fmt.Errorf("%w: %w", ErrUnsure, e.Err)
		}
		return "", e
	}
	return tag, nil
}

// holds says whether a condition may hold. It is asked after a put that was cut while it was sent, which is how a store
// says no that doesn't read a body to its end: the answer goes down with the connection. Nothing of such a put was
// stored, so what is there is somebody else's.
func (g *guard) holds(ctx context.Context, key string, on On) bool {
	r, o, err := g.store.get(ctx, g.at.key(key))
	if err != nil {
		return on.Absent || !errors.Is(err, ErrAbsent)
	}
	_ = r.Close()
	return on.Match == o.Tag
}

func (g *guard) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if p := strings.TrimSuffix(prefix, "/"); prefix != "" {
			if err := g.check("list", p); err != nil {
				yield(Object{}, err)
				return
			}
		}
		for from := ""; ; {
			var list []Object
			var next string
			err := again(ctx, func() (err error) {
				list, next, err = g.store.page(ctx, g.at.key(prefix), from)
				return err
			})
			if err == nil && next == from && next != "" {
				err = errors.New("the store's listing goes in a circle")
			}
			if err != nil {
				yield(Object{}, dress(err, "list", g.url(prefix)))
				return
			}
			for _, o := range list {
				if !strings.HasPrefix(o.Key, g.at.key(prefix)) {
					yield(Object{}, dress(fmt.Errorf("the store lists %q there", o.Key), "list", g.url(prefix)))
					return
				}
				o.Key = g.at.relative(o.Key)
				if o.Key == "" || strings.HasSuffix(o.Key, "/") {
					continue
				}
				if !yield(o, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			from = next
		}
	}
}

func (g *guard) Delete(ctx context.Context, key string) error {
	if err := g.check("delete", key); err != nil {
		return err
	}
	err := again(ctx, func() error { return g.store.delete(ctx, g.at.key(key)) })
	if err != nil {
		return dress(err, "delete", g.url(key))
	}
	return nil
}

// again does what may pass some times, with longer and longer waits.
func again(ctx context.Context, do func() error) error {
	wait := firstWait
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := do()
		var e *Error
		if err == nil || try == tries || ctx.Err() != nil || !errors.As(err, &e) || !e.again {
			return err
		}
		pause := time.NewTimer(min(max(rand.N(wait), e.after), maxWait))
		select {
		case <-ctx.Done():
			pause.Stop()
			e.Err = fmt.Errorf("%w, and then: %w", e.Err, ctx.Err())
			return err
		case <-pause.C:
		}
		wait *= 2
	}
}
