package bucket

import (
	"context"
	"errors"
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
	return &reading{r, g.url(key)}, o, nil
}

// reading names the object in what goes wrong while it is read.
type reading struct {
	io.ReadCloser
	url string
}

func (r *reading) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
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
		var e *Error
		if on != (On{}) && errors.Is(err, ErrUnsure) && errors.As(err, &e) {
			e.again = false
		}
		return err
	})
	if err != nil {
		return "", dress(err, "put", g.url(key))
	}
	return tag, nil
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
			return err
		case <-pause.C:
		}
		wait *= 2
	}
}
