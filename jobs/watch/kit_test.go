package watch

import (
	"context"
	"testing"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/internal/kit"
)

// world is the kit's, and exports of it.
type world struct {
	*kit.World
	env jobs.Env
}

func newWorld(t testing.TB, s kit.Settings) *world {
	t.Helper()
	w := &world{World: kit.New(t, s)}
	w.env = jobs.Env{Now: w.Now, Getenv: w.Getenv, Version: "test", Transport: w.Wire, Logger: w.Logger()}
	return w
}

func (w *world) try(ctx context.Context, s jobs.Span) (*jobs.Result, error) {
	return jobs.Export(ctx, w.Cfg, w.env, jobs.ExportOptions{Span: s, Retry: kit.Retry})
}

// export must succeed.
func (w *world) export(s jobs.Span) {
	w.Helper()
	if _, err := w.try(w.Context(), s); err != nil {
		w.Fatalf("export: %v", err)
	}
}

func span(from, to int) jobs.Span { return jobs.Span{From: kit.Day(from), To: kit.Day(to)} }
