package kit

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
)

// Hook is a webhook that keeps what it gets, and the Portal for all else.
type Hook struct {
	http.RoundTripper
	mu     sync.Mutex
	Status int // that it answers with
	bodies []string
}

func (h *Hook) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "hooks.test" {
		return h.RoundTripper.RoundTrip(r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	h.bodies = append(h.bodies, string(b))
	return &http.Response{StatusCode: h.Status, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{},
		Request: r}, nil
}

// Told are the notifications it got since it was last asked.
func (h *Hook) Told(t testing.TB) (out []string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.bodies {
		var p struct {
			Notifications []struct{ State, Rule, Subject, Summary string }
		}
		if err := json.Unmarshal([]byte(b), &p); err != nil {
			t.Fatal(err)
		}
		for _, n := range p.Notifications {
			out = append(out, n.State+" "+n.Rule+" | "+n.Subject)
		}
	}
	h.bodies = nil
	return out
}

// Alerted gives the config rules, and a webhook as the one receiver. Requests have to go through it.
func (w *World) Alerted(rules ...config.Rule) *Hook {
	w.Helper()
	w.Keys["HOOK"] = "https://hooks.test/secret"
	w.Cfg.Alerts = config.Alerts{Repeat: config.Duration(config.DefaultRepeat),
		Receivers: []config.Receiver{{Name: "ops", WebhookEnv: "HOOK"}}, Rules: rules}
	for _, err := range w.Cfg.Alerts.Validate(w.Cfg.AccountNames(), w.Cfg.Budgets) {
		w.Fatal(err)
	}
	return &Hook{RoundTripper: w.Wire, Status: 200}
}
