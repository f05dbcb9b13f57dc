package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/serve/finance"
)

// Handler answers all that there is to ask.
func (s *Server) Handler() http.Handler {
	pages := map[string]func(http.ResponseWriter, *http.Request){
		"/":            s.page,
		"/status.json": s.statusJSON,
		"/metrics":     s.metrics,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if s.opts.Token == nil && !s.guarded() && !fromHere(r) {
			http.Error(w, "without a token this is for loopback names alone: ask for http://"+config.DefaultListen+
				"/ or http://localhost:PORT/", http.StatusMisdirectedRequest)
			return
		}
		if s.opts.Finance != nil && (r.URL.Path+"/" == finance.Root || strings.HasPrefix(r.URL.Path, finance.Root)) {
			s.opts.Finance.ServeHTTP(w, r) // which knows by itself who may look
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "nothing can be changed here: only GET and HEAD are answered", http.StatusMethodNotAllowed)
			return
		}
		allowed, known, problem := s.allowed(r)
		switch r.URL.Path { // those that keep it alive ask without a token, and learn the bare state
		case "/healthz":
			s.healthz(w, r, allowed)
			return
		case "/readyz":
			s.readyz(w, r, allowed)
			return
		}
		page, ok := pages[r.URL.Path]
		switch {
		case problem != nil:
			s.log.Error("the token of the HTTP server can't be read", "error", problem)
			http.Error(w, "the token that requests are compared with can't be read: see the log", http.StatusServiceUnavailable)
		case !allowed && known && r.URL.Path == "/":
			http.Redirect(w, r, finance.Root, http.StatusSeeOther) // it is somebody who sees what is his
		case !allowed:
			// A program sends the token as Bearer; a browser asks its user, who gives it as the password.
			h.Add("WWW-Authenticate", `Bearer realm="usagelake"`)
			h.Add("WWW-Authenticate", `Basic realm="usagelake: any name, the token as password", charset="UTF-8"`)
			http.Error(w, "send the token: Authorization: Bearer TOKEN", http.StatusUnauthorized)
		case !ok:
			http.Error(w, s.addresses(), http.StatusNotFound)
		default:
			page(w, r)
		}
	})
}

// addresses names what there is.
func (s *Server) addresses() string {
	if s.opts.Finance != nil {
		return "there are /, /finance/, /status.json, /metrics, /healthz and /readyz"
	}
	return "there are /, /status.json, /metrics, /healthz and /readyz"
}

// guarded says that finance's page has viewers: whoever comes then has to say who it is.
func (s *Server) guarded() bool { return s.opts.Finance != nil && s.opts.Finance.Guarded() }

// allowed says that a request has the token, or is of a viewer who sees all, or that nothing is needed; known, that it
// is of some viewer. The error says why the token isn't known, as where its file was taken away; nobody is allowed
// then. The token is read at each request, so that a new one holds at once.
func (s *Server) allowed(r *http.Request) (allowed, known bool, err error) {
	if s.opts.Token == nil && !s.guarded() {
		return true, true, nil
	}
	if s.guarded() { // who has the token is a viewer, too, and guesses at it are slowed down there
		known, allowed = s.opts.Finance.Sees(r)
		return allowed, known, nil
	}
	allowed, err = s.hasToken(r)
	return allowed, allowed, err
}

// hasToken says that a request has the token.
func (s *Server) hasToken(r *http.Request) (bool, error) {
	want, err := s.opts.Token()
	if err != nil {
		return false, err
	}
	want = strings.TrimSpace(want)
	if want == "" {
		return false, errEmptyToken
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		got = strings.TrimSpace(got)
	default:
		_, got, _ = r.BasicAuth()
	}
	// Digests have one length, so that how long the comparison takes tells nothing of the token's.
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1, nil
}

var errEmptyToken = errors.New("the token is empty")

// fromHere says that a request came through a unix socket, or asks for loopback by name. A page of the web that has
// its own name resolve to 127.0.0.1 sends that name, and so doesn't get through.
func fromHere(r *http.Request) bool {
	if _, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return loopback(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}
