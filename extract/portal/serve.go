package portal

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is what a request is answered with, before the wire has its way with it.
type answer struct {
	status  int    // 0 is 200
	message string // of a failure
	data    []byte // JSON of data; nil is null
}

func success(data any) answer {
	b, err := json.Marshal(data)
	if err != nil { // only our own structs get here
		return failure(http.StatusInternalServerError, "internal_error")
	}
	return answer{data: b}
}

func failure(status int, message string) answer { return answer{status: status, message: message} }

// ServeHTTP serves the Manager API under [BasePath] and, to loopback clients alone, the simulation's own side under
// /sim/.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/sim/") || r.URL.Path == "/sim" {
		p.adminAPI(w, r)
		return
	}
	x := &exchange{p: p, w: w, r: r, s: p.faults.Load(), began: time.Now(),
		info: RequestInfo{Time: p.now(), Method: r.Method, Query: r.URL.RawQuery}}
	defer x.end()
	x.serve()
}

// exchange is one request to the API and its answer.
type exchange struct {
	p     *Portal
	w     http.ResponseWriter
	r     *http.Request
	s     *faultState
	n     int64 // number of the request since the faults were set
	m     int64 // the same among those that failures may hit; 0 if they may not hit this one
	began time.Time
	info  RequestInfo
	limit *limiter // whose request this is, if it was accepted
}

func (x *exchange) end() {
	if x.limit != nil {
		x.limit.release()
		x.p.stats.leave()
	}
	x.info.Duration = time.Since(x.began)
	x.p.stats.request(x.info)
	if x.p.options.OnRequest != nil {
		x.p.options.OnRequest(x.info)
	}
}

func (x *exchange) serve() {
	p, r := x.p, x.r
	path, ok := strings.CutPrefix(r.URL.Path, BasePath)
	path = strings.TrimSuffix(path, "/")
	switch {
	case ok && (path == "/usage" || path == "/balance"):
		x.info.Endpoint = path[1:]
	case ok && (path == "/api-keys" || strings.HasPrefix(path, "/api-keys/")):
		x.info.Endpoint = "keys"
		x.plain(p.keysAPI(r))
		return
	default:
		x.plain(failure(http.StatusNotFound, "not found"))
		return
	}
	if r.Method != http.MethodGet {
		x.w.Header().Set("Allow", http.MethodGet)
		x.plain(failure(http.StatusMethodNotAllowed, "method not allowed"))
		return
	}
	k, message := p.keys.admit(r.Header.Get("Authorization"))
	if message != "" {
		x.plain(failure(http.StatusUnauthorized, message))
		return
	}
	x.info.Org = k.org
	if x.keyFails(k) {
		return
	}
	v := k.limit.acquire()
	x.limitHeaders(v, k.limit)
	if !v.ok {
		p.stats.limited()
		x.retryAfter(p.options.Limit.RetryAfter, v.wait)
		x.plain(failure(http.StatusTooManyRequests, "rate_limit_exceeded: "+v.reason))
		return
	}
	x.limit = k.limit
	p.stats.enter(k.id, k.limit.o.Clock())
	x.n = x.s.requests.Add(1)
	if x.s.Only == "" || x.s.Only == x.info.Endpoint {
		x.m = x.s.matched.Add(1)
		if x.m < int64(x.s.From) || (x.s.To > 0 && x.m > int64(x.s.To)) || (x.s.until > 0 && x.p.now().Unix() >= x.s.until) {
			x.m = 0
		}
	}
	if !x.wait() || x.failsBefore() {
		return
	}
	x.deliver(x.answer(k))
}

// answer does what was asked for.
func (x *exchange) answer(k use) answer {
	scope := ScopeUsage
	if x.info.Endpoint == "balance" {
		scope = ScopeBalance
	}
	if !slices.Contains(k.scopes, scope) {
		return failure(http.StatusForbidden, "forbidden: the api key lacks the scope "+scope)
	}
	w := x.p.world(k.org)
	if x.info.Endpoint == "balance" {
		return x.p.balanceAPI(w, x.s)
	}
	return x.usage(w, k)
}

// plain answers without any fault of the wire.
func (x *exchange) plain(a answer) {
	x.send(a.code(), "application/json; charset=utf-8", x.envelope(a))
}

func (a answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// envelope wraps an answer as every answer of the API is wrapped.
func (x *exchange) envelope(a answer) []byte {
	if x.s.Bare && a.status == 0 {
		return slices.Concat([]byte(`{"data":`), a.data, []byte("}"))
	}
	code, message := a.status, a.message
	if code == 0 && x.s.Code200 {
		code = http.StatusOK
	}
	if _, bearer, ok := strings.Cut(x.r.Header.Get("Authorization"), " "); ok && code >= 400 && x.info.Endpoint != "keys" {
		switch x.s.EchoKey {
		case "upper":
			message += ": " + strings.ToUpper(bearer)
		case "lower":
			message += ": " + strings.ToLower(bearer)
		}
	}
	b := make([]byte, 0, len(a.data)+160)
	b = append(b, `{"meta":{"code":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"message":`...)
	b = appendString(b, message)
	b = append(b, `,"request_id":"`...)
	b = append(b, x.p.requestID()...)
	b = append(b, '"')
	if x.s.UnknownFields {
		b = append(b, `,"served_by":"portal-7"`...)
	}
	b = append(b, `},"data":`...)
	if a.data == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, a.data...)
	}
	return append(b, '}')
}

// requestID is 32 letters and digits, never the same twice.
func (p *Portal) requestID() []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	n := p.serial.Add(1)
	b := make([]byte, 0, 32)
	for part := range uint64(4) {
		for h, i := hash(p.nonce, n, part), 0; i < 8; i++ {
			b = append(b, letters[h%62])
			h /= 62
		}
	}
	return b
}

// limitHeaders says where the key stands with its limit, if that was asked for.
func (x *exchange) limitHeaders(v verdict, l *limiter) {
	if !l.o.Headers || l.o.Kind == Off {
		return
	}
	h := x.w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(l.most))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(v.remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(x.p.now().Add(v.wait+time.Second-1).Unix(), 10))
}

// retryAfter sets the header of that name: what the faults say, or else the limiter's wait in the form asked for.
func (x *exchange) retryAfter(form string, wait time.Duration) {
	if x.s.RetryAfter > 0 {
		form, wait = "seconds", x.s.RetryAfter
		if x.s.RetryAfterDate {
			form = "date"
		}
	}
	whole := (wait + time.Second - 1) / time.Second
	switch form {
	case "seconds":
		x.w.Header().Set("Retry-After", strconv.Itoa(int(whole)))
	case "date": // a date has whole seconds: the next one, so that it is never too early
		x.w.Header().Set("Retry-After", httpDate(x.date().Add(wait+time.Second-1)))
	}
}

// date is what the Portal takes for the time towards its clients.
func (x *exchange) date() time.Time { return x.p.now().Add(x.s.Skew) }

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// keyFails lets the key in use cease to work once enough requests were made with it.
func (x *exchange) keyFails(k use) bool {
	s := x.s
	if s.KeyAfter == 0 || s.requests.Load() < int64(s.KeyAfter) || !s.keyDone.CompareAndSwap(false, true) {
		return false
	}
	var err error
	switch s.KeyBecomes {
	case "revoked":
		err = x.p.RevokeKey(k.id)
	case "expired":
		err = x.p.ExpireKey(k.id, x.p.now().Add(-time.Second))
	case "deleted":
		err = x.p.DeleteKey(k.id)
	case "stripped":
		if err = x.p.SetScopes(k.id); err == nil {
			x.info.Fault = "key-after"
			x.plain(failure(http.StatusForbidden, "forbidden: the api key lacks the scope"))
			return true
		}
	default:
		err = x.p.DisableKey(k.id)
	}
	if err != nil { // somebody else changed it in the meantime
		x.plain(failure(http.StatusInternalServerError, fmt.Sprintf("internal_error: %v", err)))
		return true
	}
	_, message := x.p.keys.admit(x.r.Header.Get("Authorization"))
	x.info.Fault = "key-after"
	x.plain(failure(http.StatusUnauthorized, message))
	return true
}
