package jobs

import (
	"context"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

// world is the kit's, and what jobs have of it.
type world struct {
	*kit.World
	env Env
}

func newWorld(t testing.TB, s kit.Settings) *world {
	t.Helper()
	w := &world{World: kit.New(t, s)}
	w.env = Env{Now: w.Now, Getenv: w.Getenv, Version: "test", Transport: w.Wire, Logger: w.Logger()}
	return w
}

func (w *world) try(ctx context.Context, s Span) (*Result, error) {
	return Export(ctx, w.Cfg, w.env, ExportOptions{Span: s, Retry: kit.Retry})
}

// export must succeed.
func (w *world) export(s Span) *Result {
	w.Helper()
	res, err := w.try(w.Context(), s)
	if err != nil {
		w.Fatalf("export: %v", err)
	}
	if res.Status != schemas.StatusDone {
		w.Fatalf("export ended as %s", res.Status)
	}
	return res
}

func (w *world) rebuild() *Result {
	w.Helper()
	res, err := Rebuild(w.Context(), w.Cfg, w.env, RebuildOptions{})
	if err != nil {
		w.Fatalf("rebuild: %v", err)
	}
	return res
}

func span(from, to int) Span { return Span{From: kit.Day(from), To: kit.Day(to)} }

// Examined is what doctor says of a set-up. It is a room beside this one, so an outer test gives it.
var Examined func(ctx context.Context, cfg *config.Config, env Env, offline bool) []string
