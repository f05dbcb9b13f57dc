package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// healthz answers 200 while the scheduler turns, and 503 else: who watches over the process restarts it then. It asks
// the scheduler alone, and no file: a lake on a disk that hangs is nothing that a restart mends.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request, detail bool) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	v := &view{now: s.opts.Now(), state: s.state.get(ctx)}
	why := v.stuck()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if why == "" {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	if !detail {
		why = "stuck"
	}
	fmt.Fprintln(w, why)
}

// ready is what /readyz says.
type ready struct {
	Ready bool `json:"ready"`
	// Of who may know: what makes it not ready, and what else is amiss.
	Reasons  []string `json:"reasons,omitzero"`
	Warnings []string `json:"warnings,omitzero"`
}

// readyz answers 503 while requests are better sent elsewhere: it is stopping, stuck, or can't read its lake. What a
// restart or another instance would not mend (late data, a refused key, a refused config) are warnings, and 200; with
// ?strict they make it 503, too, for a watcher that only knows the two.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request, detail bool) {
	v := s.look(r.Context())
	out := ready{Ready: true, Reasons: []string{}, Warnings: []string{}}
	for _, p := range v.problems() {
		text := p.Summary
		if p.Detail != "" {
			text += ": " + p.Detail
		}
		if p.Down || r.URL.Query().Has("strict") {
			out.Ready = false
			out.Reasons = append(out.Reasons, text)
		} else {
			out.Warnings = append(out.Warnings, text)
		}
	}
	if !detail {
		out.Reasons, out.Warnings = nil, nil
	}
	code := http.StatusOK
	if !out.Ready {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, out)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}
