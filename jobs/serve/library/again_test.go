package library

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// What nobody waits for gets a place while another is left, and nobody waits; and one at once when somebody does.
func TestWhoWaitsComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(2)
		var mu sync.Mutex
		var got []string
		wanted := map[string]bool{}
		take := func(name string) {
			go func() {
				if err := r.take(t.Context(), func() bool { mu.Lock(); defer mu.Unlock(); return wanted[name] }); err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got = append(got, name)
			}()
			synctest.Wait()
		}
		is := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, want) {
				t.Fatalf("places have %v, want %v", got, want)
			}
		}
		want := func(name string) { mu.Lock(); wanted[name] = true; mu.Unlock() }
		for _, name := range []string{"a", "b", "c", "d"} {
			want(name)
		}
		take("ahead 1")
		take("ahead 2")
		is("ahead 1") // the last place is nobody's who isn't waited for
		take("a")
		is("ahead 1", "a")
		take("b")
		take("c")
		is("ahead 1", "a")
		r.leave()
		is("ahead 1", "a", "b")
		want("ahead 2") // somebody asks for it, behind c
		r.tell()
		r.leave()
		is("ahead 1", "a", "b", "c")
		r.leave()
		is("ahead 1", "a", "b", "c", "ahead 2")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.take(ctx, func() bool { return true }); err == nil {
			t.Error("who gives up has a place")
		}
		r.leave()
		take("d")
		is("ahead 1", "a", "b", "c", "ahead 2", "d")
		if len(r.queue) != 0 {
			t.Errorf("%d are left in the queue", len(r.queue))
		}
	})
}

// What waits for a place has all of its time when it has one, and is told so when there is none.
func TestALimitIsOfTheMaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, nil)
		r := &Reader{lib: l, of: &edition{flights: map[string]*flight{}}}
		statement := func(name string, takes time.Duration) <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, err := r.once(t.Context(), Asking, SQLLimit, name, func(ctx context.Context) (any, error) {
					select {
					case <-time.After(takes):
					case <-ctx.Done():
					}
					return nil, ctx.Err()
				})
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		first, _ := statement("a", placeWait-time.Second), statement("b", SQLLimit)
		waits := statement("c", SQLLimit-time.Second)
		if err := errors.Join(<-first, <-waits); err != nil {
			t.Errorf("what waited for a place: %v", err)
		}
		_, _ = statement("d", 2*SQLLimit), statement("e", 2*SQLLimit)
		time.Sleep(time.Second) // in the bubble: they are stopped after who waits has given up
		if err := <-statement("f", 0); err != nil {
			t.Errorf("who waits as long as one takes: %v", err)
		}
		for _, place := range []string{"g", "h"} {
			go func() {
				_, _ = r.once(t.Context(), Asking, time.Hour, place, func(context.Context) (any, error) {
					time.Sleep(time.Minute)
					return nil, nil
				})
			}()
		}
		synctest.Wait()
		if err := <-statement("i", 0); !errors.Is(err, ErrBusy) || errors.Is(err, context.DeadlineExceeded) ||
			SQLMistake(err) != "" {
			t.Errorf("without a place: %v", err)
		}
		time.Sleep(time.Hour)
	})
}

// A statement that everybody gave up stops, and its place is free; who comes then has it made anew, and doesn't get the
// end of the other. What is kept for the next one goes on.
func TestWhoGivesUpWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, nil)
		r := &Reader{lib: l, of: &edition{flights: map[string]*flight{}}}
		var running atomic.Int32
		ask := func(at Place, name string, takes time.Duration) (<-chan string, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan string, 1)
			go func() {
				out, err := r.Made(ctx, at, name, func(ctx context.Context) (any, error) {
					running.Add(1)
					defer running.Add(-1)
					select {
					case <-time.After(takes):
						return "made", nil
					case <-ctx.Done():
						time.Sleep(time.Second) // what is stopped takes its time
						return nil, context.Cause(ctx)
					}
				})
				ended <- fmt.Sprintf("%v %v", out, err)
			}()
			synctest.Wait()
			return ended, cancel
		}
		run := func(want int32) {
			t.Helper()
			if synctest.Wait(); running.Load() != want {
				t.Fatalf("%d run, want %d", running.Load(), want)
			}
		}
		_, one := ask(Asking, "a", 10*time.Second)
		_, other := ask(Asking, "a", 10*time.Second)
		_, third := ask(Asking, "b", 10*time.Second)
		_, queued := ask(Asking, "c", 10*time.Second)
		queued() // it never had a place
		one()
		time.Sleep(2 * time.Second)
		run(2)
		other()
		run(2) // it is ending, and has the place until it did
		next, cancel := ask(Asking, "a", 3*time.Second)
		defer cancel()
		time.Sleep(2 * time.Second)
		third()
		time.Sleep(time.Second)
		run(1)
		began := time.Now()
		if got := <-next; got != "made <nil>" || time.Since(began) > time.Second {
			t.Errorf("who comes as it ends: %s, after %s more", got, time.Since(began))
		}
		run(0)
		_, cancel = ask(Making, "page", 10*time.Second)
		cancel()
		time.Sleep(9 * time.Second)
		next, cancel = ask(Making, "page", time.Hour)
		defer cancel()
		if got := <-next; got != "made <nil>" {
			t.Errorf("a page: %s", got)
		}
		synctest.Wait() // an answer is there before who made it lets go of the file
		if len(r.of.flights) > 0 || r.of.readers != 0 {
			t.Errorf("%d flights are left, %d readers", len(r.of.flights), r.of.readers)
		}
	})
}

// After a publish, what was asked for is made anew, what was asked for last first, each for who asked; and who asks
// then finds it.
func TestWhatWasAskedForIsMadeAnew(t *testing.T) {
	w := librarytest.New(t)
	l := New(w.Open, nil)
	t.Cleanup(l.Close)
	made := map[string]int{}
	var mu sync.Mutex
	page := func(ctx context.Context, r *Reader, address string) (string, error) {
		out, err := r.Kept(ctx, Making, address, func(_ context.Context, lake *publish.Lake) (any, int, error) {
			mu.Lock()
			defer mu.Unlock()
			made[r.scope+address]++
			return fmt.Sprintf("%s of %t", address, lake == r.of.lake), 1, nil
		})
		if err != nil {
			return "", err
		}
		return out.(string), nil
	}
	ask := func(who Sight, address, want string) {
		t.Helper()
		r, err := l.Reader(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := page(t.Context(), r, address); got != want || err != nil {
			t.Errorf("%s: %s, %v", address, got, err)
		}
		r.Asked(address)
	}
	all, search := Sight{All: true}, Sight{Scope: librarytest.Search}
	var searchLeft atomic.Bool
	order := make(chan string, 100)
	tick := make(chan time.Time)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Watch(ctx, tick, Ahead{
			First: func(context.Context, *Reader) ([]string, error) { return []string{"months"}, nil },
			Again: func(ctx context.Context, r *Reader, address string) error {
				_, err := page(ctx, r, address)
				order <- fmt.Sprintf("%s %t", address, r.scope == "")
				if address == "broken" {
					panic("broken")
				}
				return err
			},
			Holds: func(who Sight) bool { return who.All || !searchLeft.Load() },
		})
	}()
	comes := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := <-order; got != w {
				t.Errorf("%q is made, want %q", got, w)
			}
		}
	}
	comes("months true") // of the first file, too
	ask(all, "broken", "broken of true")
	ask(all, "a", "a of true")
	ask(search, "a", "a of false")
	ask(all, "b", "b of true")
	ask(all, "a", "a of true")
	date := schemastest.Date("2026-11-05")
	published := func() {
		date++
		w.Day(schemas.Partition{Account: "acme", Date: date}, [4]string{"rec-" + date.String(), "tk_own2", "model-own", "5"})
		w.Publish(publish.PublishOptions{Finance: w.Finance})
		tick <- time.Time{}
	}
	for range 2 {
		published()
		comes("months true", "a true", "b true", "a false", "broken true")
	}
	was := made["a"]
	ask(all, "a", "a of true")
	ask(all, "months", "months of true")
	if was != 3 || made["a"] != was {
		t.Errorf("a is made %d times, and %d when it is asked for", was, made["a"])
	}
	// What nobody asks for any more is given up; what was asked for meanwhile comes first.
	searchLeft.Store(true) // and nothing is made for who sees nothing any more
	for range unasked - 2 {
		published()
		comes("months true", "a true", "b true", "broken true")
	}
	if of := l.now; len(of.shelves) > 0 {
		t.Error("a file is made for who sees nothing any more")
	}
	published()
	comes("months true", "a true")
	tick <- time.Time{} // nothing is published since
	cancel()
	<-ended
	if len(order) > 0 {
		t.Errorf("%s is made, too", <-order)
	}
}
