package extract

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Sink takes a window. It is called from several goroutines; its pages are its own from then on. An error from it stops
// the account: what can't be stored needn't be fetched.
type Sink func(ctx context.Context, s schemas.Seal, pages []schemas.Page) error

// keep hands a window to sink, unless much of what is held of it is lacking. What becomes of it:
//
//	nothing is held, or little of it lacks   it is sealed
//	much of it lacks                         a Doubt: nothing is sealed, what is held stays
//	the Portal has forgotten its beginning   it is sealed from the first record on that came, and the horizon is there
//	it can't be shown to be all              it is reported as failed; and sealed all the same, if nothing held lacks
func (f *Fetcher) keep(ctx context.Context, t *task, p *pass, proof string, sink Sink) error {
	if first, later := t.held.begins(t.window, p); later {
		begins := time.Unix(first, 0).UTC()
		forgotten, err := t.held.Forgotten(ctx, begins)
		if err != nil {
			return err
		}
		if forgotten { // what is held of the time before stays
			f.log.Warn("the API lists no records any more of what lies before: those that are held stay",
				"window", t.window.String(), "at", begins)
			rest := *t
			rest.window.Start = begins
			t = &rest
			t.held.cut(first)
			f.found.beginsAt(begins)
		}
	}
	if d := t.held.doubt(t.window, p); d != nil {
		f.log.Error("much of what is held of a window did not come: it stays until another look agrees",
			"window", t.window.String(), "held", d.Held, "lacking", d.Gone, "came", d.Came)
		f.found.doubted(*d)
		return nil
	}
	seal := f.seal(t, p, proof)
	if proof == schemas.ProofNone {
		if gone := t.held.gone(p); gone > 0 { // it is no better than what is held
			f.found.stays(t.window, fmt.Errorf("window %s: %d records came, which can't be shown to be all (%s), "+
				"and lack %d of the %d that are held: these stay", t.window, len(p.entries), p.describe(), gone, t.held.n))
			return nil
		}
		message := fmt.Sprintf("window %s: %d records came and are kept, but they can't be shown to be all (%s)",
			t.window, len(p.entries), p.describe())
		if seal.Lacking > 0 {
			message = fmt.Sprintf("window %s: %d records came and are kept, %d are lacking by what the API announces",
				t.window, len(p.entries), seal.Lacking)
		}
		f.found.failed(t.window, errors.New(message))
	}
	if err := f.deliver(ctx, seal, p.pages, sink); err != nil {
		return err
	}
	if p.rows > 0 {
		t.budget.kept.Store(true)
	}
	f.log.Debug("window kept", "window", t.window.String(), "proof", proof, "found", p.describe())
	f.records.Add(seal.Kept)
	f.windows.Add(1)
	return nil
}

// deliver hands a window to sink once that may be at work. It waits for that even if the context has ended: what is
// complete cost its requests, and sink decides whether it has the time to store it.
func (f *Fetcher) deliver(ctx context.Context, seal schemas.Seal, pages []schemas.Page, sink Sink) error {
	if f.opts.Sealing != nil {
		f.opts.Sealing <- struct{}{}
		defer func() { <-f.opts.Sealing }()
	}
	if err := unpack(pages); err != nil {
		return fmt.Errorf("window %s: %w", seal.Window(), err)
	}
	return sink(ctx, seal, pages)
}

// seal describes a window.
func (f *Fetcher) seal(t *task, p *pass, proof string) schemas.Seal {
	w := t.window
	s := schemas.Seal{
		Format: schemas.RawFormat, Kind: schemas.KindUsage, Account: w.Account, Start: w.Start, End: w.End,
		AskedStart: p.start, AskedEnd: p.end, PageSize: p.size, PageRecords: p.longest,
		Announced: p.first.total, Records: int64(len(p.entries)), Twice: int64(p.twice), Proof: proof,
		Kept:  p.within(noTime, noTime+1) + p.within(w.Start.Unix(), w.End.Unix()),
		Pages: len(p.pages), Requests: p.requests,
		RunID: f.opts.RunID, Version: f.opts.Version, Currency: f.currency,
	}
	if proof == schemas.ProofNone && s.Announced != nil {
		s.Lacking = max(0, *s.Announced-s.Records)
	}
	for _, page := range p.pages {
		s.RequestIDs = append(s.RequestIDs, page.RequestID)
		if page.FetchedAt.After(s.FetchedAt) {
			s.FetchedAt = page.FetchedAt
		}
	}
	return s
}
