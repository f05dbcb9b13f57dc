package portal

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// help is what GET /sim/ says.
const help = `The simulated Portal's own side; the Manager API doesn't have it. Loopback clients only.

GET    /sim/truth?org=&from=&to=      records a perfect export would hold, one JSON object a line
                                      (times: Unix seconds or RFC 3339)
GET    /sim/total?org=&from=&to=      how many those are, and their net amount
GET    /sim/stats                     requests so far; DELETE starts anew
GET    /sim/faults                    those in force; PUT replaces, PATCH changes some, DELETE ends all
                                      (JSON object, see "simulate --help")
GET    /sim/keys                      every key in full, and the user tokens
POST   /sim/keys/{id}/{disable|enable|revoke|restore|expire|delete}
PUT    /sim/keys/{id}/scopes          ["balance:read","usage:read"]
GET    /sim/teams?org=                teams with their API tokens, users and cost centre
GET    /sim/balance?org=              exact balance
GET    /sim/topups?org=&from=&to=     its top-ups
GET    /sim/clock                     the Portal's time; PUT {"offset":"72h"} moves it
`

// adminAPI serves /sim/.
func (p *Portal) adminAPI(w http.ResponseWriter, r *http.Request) {
	if !loopback(r.RemoteAddr) {
		http.Error(w, "the simulation's own side answers loopback clients only", http.StatusForbidden)
		return
	}
	w.Header().Set("Date", httpDate(p.now()))
	q := r.URL.Query()
	org := q.Get("org")
	if org == "" {
		org = p.worlds[0].org
	}
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/sim"), "/")
	if p.world(org) == nil {
		http.Error(w, fmt.Sprintf("no organisation %q", org), http.StatusNotFound)
		return
	}
	switch r.Method + " " + path {
	case "GET ":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, help)
	case "GET truth", "GET total", "GET topups":
		from, to, err := adminRange(q, p.now())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch path {
		case "total":
			n, net := p.Total(org, from, to)
			reply(w, map[string]any{"records": n, "amount": net})
		case "topups":
			reply(w, p.TopUps(org, from, to))
		default:
			w.Header().Set("Content-Type", "application/x-ndjson")
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			for rec := range p.Truth(org, from, to) {
				if enc.Encode(rec) != nil {
					return
				}
			}
		}
	case "GET stats":
		reply(w, p.Stats())
	case "DELETE stats":
		p.ResetStats()
		reply(w, p.Stats())
	case "GET faults":
		reply(w, p.Faults())
	case "PUT faults", "PATCH faults", "DELETE faults":
		var f Faults
		if r.Method == http.MethodPatch {
			f = p.Faults()
		}
		if r.Method != http.MethodDelete {
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&f); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		p.SetFaults(f)
		reply(w, f)
	case "GET keys":
		reply(w, p.adminKeys())
	case "GET teams":
		reply(w, p.Teams(org))
	case "GET balance":
		reply(w, map[string]string{"balance": p.Balance(org), "currency": p.world(org).currency})
	case "GET clock":
		reply(w, map[string]string{"now": p.now().UTC().Format(time.RFC3339),
			"offset": time.Duration(p.offset.Load()).String()})
	case "PUT clock":
		var in struct{ Offset string }
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in)
		if err == nil {
			var d time.Duration
			if d, err = time.ParseDuration(in.Offset); err == nil {
				p.SetClockOffset(d)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply(w, map[string]string{"now": p.now().UTC().Format(time.RFC3339), "offset": in.Offset})
	default:
		p.adminKey(w, r, path)
	}
}

func (p *Portal) adminKey(w http.ResponseWriter, r *http.Request, path string) {
	rest, ok := strings.CutPrefix(path, "keys/")
	id, verb, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		http.NotFound(w, r)
		return
	}
	var err error
	switch r.Method + " " + verb {
	case "POST disable":
		err = p.DisableKey(id)
	case "POST enable":
		err = p.EnableKey(id)
	case "POST revoke":
		err = p.RevokeKey(id)
	case "POST restore":
		err = p.RestoreKey(id)
	case "POST delete":
		err = p.DeleteKey(id)
	case "POST expire":
		err = p.ExpireKey(id, p.now())
	case "PUT scopes":
		var scopes []string
		if err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&scopes); err == nil {
			err = p.SetScopes(id, scopes...)
		}
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	info, err := p.KeyInfo(id)
	if err != nil { // deleted
		reply(w, nil)
		return
	}
	reply(w, info)
}

func (p *Portal) adminKeys() any {
	out := struct {
		Keys       []wholeKey        `json:"keys"`
		UserTokens map[string]string `json:"user_tokens"` // organisation → its administrator's
	}{Keys: []wholeKey{}, UserTokens: map[string]string{}}
	for _, w := range p.worlds {
		out.UserTokens[w.org] = p.UserToken(w.org, "")
	}
	p.keys.mu.Lock()
	defer p.keys.mu.Unlock()
	for _, n := range p.keys.list {
		out.Keys = append(out.Keys, wholeKey{n.whole, n.info()})
	}
	return out
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}

// loopback says whether an address is this machine's own; a pipe inside the process is.
func loopback(addr string) bool {
	if addr == "pipe" {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(strings.SplitN(host, "%", 2)[0])
	return ip != nil && ip.IsLoopback()
}

// adminRange reads from and to; to defaults to now, from to 30 days before.
func adminRange(q url.Values, now time.Time) (from, to time.Time, err error) {
	to = now
	if s := q.Get("to"); s != "" {
		if to, err = instant(s); err != nil {
			return from, to, fmt.Errorf("to: %w", err)
		}
	}
	from = to.AddDate(0, 0, -30)
	if s := q.Get("from"); s != "" {
		if from, err = instant(s); err != nil {
			return from, to, fmt.Errorf("from: %w", err)
		}
	}
	return from, to, nil
}

func instant(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither Unix seconds nor RFC 3339 nor a date", s)
	}
	return t, nil
}
