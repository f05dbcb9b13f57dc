package extract

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// sends lets n requests of the given latency through p and returns when each was written.
func sends(t *testing.T, p *Pacer, n int, latency time.Duration) []time.Time {
	t.Helper()
	var at []time.Time
	done := make(chan struct{}, n)
	for range n {
		s, err := p.acquire(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		s.written()
		at = append(at, s.sentAt)
		go func() {
			time.Sleep(latency)
			s.release(true)
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	return at
}

func TestPacerSpacesRequestsEvenlyWhateverTheLatency(t *testing.T) {
	for _, latency := range []time.Duration{time.Millisecond, 200 * time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPacer(0, 0)
			at := sends(t, p, 200, latency)
			for i := 1; i < len(at); i++ {
				if gap := at[i].Sub(at[i-1]); gap < p.base || gap > p.base+time.Millisecond {
					t.Fatalf("latency %v: gap %d is %v, want %v", latency, i, gap, p.base)
				}
			}
			rate := float64(len(at)-1) / at[len(at)-1].Sub(at[0]).Seconds()
			if rate < 0.95*2 {
				t.Errorf("latency %v: %.3f requests a second, want at least 0.95 of the 2 allowed", latency, rate)
			}
		})
	}
}

func TestPacerNeverCatchesUpForLostTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(2, 0)
		sends(t, p, 1, 0)
		time.Sleep(time.Minute)
		at := sends(t, p, 3, 0)
		if got := at[1].Sub(at[0]); got < 500*time.Millisecond {
			t.Errorf("after an idle minute two requests are %v apart", got)
		}
	})
}

func TestPacerMeasuresFromTheWriteNotFromTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(2, 0)
		first, err := p.acquire(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		go func() { // a slow handshake before the request is on the wire
			time.Sleep(3 * time.Second)
			first.written()
		}()
		second, err := p.acquire(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		second.written()
		if gap := second.sentAt.Sub(first.sentAt); gap < 500*time.Millisecond {
			t.Errorf("the second request was written %v after the first", gap)
		}
	})
}

func TestPacerHoldsBackBeyondTheConcurrencyLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(1000, 2)
		a, _ := p.acquire(t.Context(), 0)
		a.written()
		b, _ := p.acquire(t.Context(), 0)
		b.written()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := p.acquire(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a third request of two got a turn: %v", err)
		}
		a.release(true)
		if _, err := p.acquire(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPacerServesTheEarliestWindowFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(2, 0)
		sends(t, p, 1, 0)
		var order []int64
		done := make(chan struct{})
		for _, priority := range []int64{30, 10, 20} {
			go func() {
				s, err := p.acquire(t.Context(), priority)
				if err == nil {
					order = append(order, priority)
					s.release(true)
				}
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		for range 3 {
			<-done
		}
		if order[0] != 10 || order[1] != 20 || order[2] != 30 {
			t.Errorf("order %v, want 10 20 30", order)
		}
	})
}

func TestPacerTurnThatIsGivenUpIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(2, 1)
		first, _ := p.acquire(t.Context(), 0)
		first.written()
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := p.acquire(ctx, 0); err == nil {
				t.Fatal("a second request of one got a turn")
			}
			cancel()
		}
		first.release(true)
		s, err := p.acquire(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		s.release(true)
		if p.inFlight != 0 || len(p.waiting) != 0 || p.granted {
			t.Errorf("left behind: %d in flight, %d waiting, granted %t", p.inFlight, len(p.waiting), p.granted)
		}
	})
}

func TestPacerRestsAndSlowsDownAfterA429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(2, 0)
		s, _ := p.acquire(t.Context(), 0)
		s.written()
		s.throttled(0)
		s.release(false)
		start := time.Now()
		s, _ = p.acquire(t.Context(), 0)
		if rested := time.Since(start); rested < firstRest {
			t.Errorf("rested %v, want at least %v", rested, firstRest)
		}
		s.written()
		s.throttled(0)
		s.release(false)
		start = time.Now()
		s, _ = p.acquire(t.Context(), 0)
		if rested := time.Since(start); rested < 2*firstRest {
			t.Errorf("after a second 429 in a row: rested %v, want at least %v", rested, 2*firstRest)
		}
		s.release(true)
		if p.Rate() >= 2 {
			t.Errorf("the rate is still %.3f", p.Rate())
		}
	})
}

func TestPacerWaitsAsLongAsRetryAfterSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(2, 0)
		s, _ := p.acquire(t.Context(), 0)
		s.written()
		s.throttled(3 * time.Minute)
		s.release(false)
		start := time.Now()
		s, _ = p.acquire(t.Context(), 0)
		s.release(true)
		if rested := time.Since(start); rested != 3*time.Minute {
			t.Errorf("rested %v, want 3m", rested)
		}
	})
}

func TestPacerCountsA429StormOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(100, 0)
		var slots []*slot
		for range 10 {
			s, _ := p.acquire(t.Context(), 0)
			s.written()
			slots = append(slots, s)
		}
		time.Sleep(time.Second)
		for _, s := range slots {
			s.throttled(0)
			s.release(false)
		}
		if p.streak != 1 {
			t.Errorf("ten 429s to requests sent before the first answer count as %d", p.streak)
		}
	})
}

func TestPacerCreepsBackAndSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(2, 0)
		for range 3 {
			s, _ := p.acquire(t.Context(), 0)
			s.written()
			s.throttled(0)
			s.release(false)
		}
		slow := p.Rate()
		sends(t, p, 2000, 100*time.Millisecond)
		if p.Rate() <= slow || p.Rate() < 1.99 {
			t.Errorf("after 2000 accepted requests the rate is %.3f (it was %.3f)", p.Rate(), slow)
		}
	})
}
