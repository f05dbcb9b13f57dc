package portal

import (
	"bytes"
	"compress/gzip"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fails rolls one failure of this request and notes it.
func (x *exchange) fails(name string, p float64) bool {
	if x.m == 0 || !x.s.roll(name, x.m, p) {
		return false
	}
	x.info.Fault = name
	return true
}

// wait holds the answer back. It is false if the client gave up meanwhile.
func (x *exchange) wait() bool {
	d := x.s.Latency
	if x.s.Jitter > 0 {
		d += time.Duration(hash(x.s.seed, hashString("jitter"), uint64(x.n)) % uint64(x.s.Jitter))
	}
	return x.pause(d)
}

func (x *exchange) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.r.Context().Done():
		return false
	}
}

// failsBefore lets happen what leaves the request undone.
func (x *exchange) failsBefore() bool {
	s := x.s
	switch {
	case x.fails("hang", s.Hang):
		<-x.r.Context().Done()
		panic(http.ErrAbortHandler)
	case x.fails("reset", s.Reset):
		x.reset()
	case x.fails("redirect", s.Redirect):
		to := s.RedirectTo
		if to == "" {
			to = "http://portal.invalid"
		}
		x.w.Header().Set("Location", strings.TrimSuffix(to, "/")+x.r.URL.RequestURI())
		x.send(http.StatusTemporaryRedirect, "text/plain", nil)
	case x.fails("html", s.HTML):
		status := s.HTMLStatus
		if status == 0 {
			status = http.StatusBadGateway
		}
		x.send(status, "text/html", []byte("<html>\n<head><title>"+strconv.Itoa(status)+" "+http.StatusText(status)+
			"</title></head>\n<body>\n<center><h1>"+http.StatusText(status)+
			"</h1></center>\n<hr><center>gateway</center>\n</body>\n</html>\n"))
	case x.fails("empty", s.Empty):
		x.send(http.StatusOK, "application/json", nil)
	case x.fails("gzip-bomb", s.GzipBomb):
		x.w.Header().Set("Content-Encoding", "gzip")
		x.header(http.StatusOK, "application/json", len(bomb()))
		x.w.Write(bomb())
	case x.fails("code-inside", s.CodeInside):
		code := s.InsideCode
		if code == 0 {
			code = http.StatusInternalServerError
		}
		x.send(http.StatusOK, "application/json", x.envelope(failure(code, statusMessage(code))))
	default:
		for _, f := range []struct {
			name   string
			p      float64
			status int
		}{
			{"status-429", s.Limited, 429}, {"status-408", s.Status408, 408}, {"status-500", s.Status500, 500},
			{"status-502", s.Status502, 502}, {"status-503", s.Status503, 503}, {"status-504", s.Status504, 504},
		} {
			if x.fails(f.name, f.p) {
				if f.status == 429 || f.status == 503 {
					x.retryAfter("", 0)
				}
				x.plain(failure(f.status, statusMessage(f.status)))
				return true
			}
		}
		return false
	}
	return true
}

func statusMessage(code int) string {
	switch code {
	case http.StatusTooManyRequests:
		return "rate_limit_exceeded"
	case http.StatusInternalServerError:
		return "internal_error"
	case http.StatusUnauthorized:
		return "unauthorized: invalid api key"
	}
	return strings.ToLower(http.StatusText(code))
}

// deliver sends an answer, or what the wire leaves of it.
func (x *exchange) deliver(a answer) {
	body := x.envelope(a)
	kind := "application/json; charset=utf-8"
	s := x.s
	switch {
	case x.fails("reset-body", s.ResetBody):
		x.half(a, kind, body)
		x.reset()
		return
	case x.fails("truncate", s.Truncate):
		x.half(a, kind, body)
		panic(http.ErrAbortHandler)
	case x.fails("cut", s.Cut):
		body = body[:len(body)/2]
	case x.fails("malformed", s.Malformed):
		body[len(body)-1] = ']'
	case x.fails("content-type", s.ContentType):
		kind = "text/html"
	}
	x.send(a.code(), kind, body)
}

// half sends the headers of a body and the first half of it.
func (x *exchange) half(a answer, kind string, body []byte) {
	x.header(a.code(), kind, len(body))
	x.info.Status = 0
	x.w.Write(body[:len(body)/2])
	http.NewResponseController(x.w).Flush()
}

// reset closes the connection in the rudest way there is.
func (x *exchange) reset() {
	x.info.Status = 0
	c, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil { // HTTP/2 or a recorder: the closest there is
		panic(http.ErrAbortHandler)
	}
	inner := c
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		inner = t.NetConn()
	}
	if t, ok := inner.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	inner.Close()
}

func (x *exchange) header(status int, kind string, length int) {
	h := x.w.Header()
	h.Set("Date", httpDate(x.date()))
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(length))
	h.Set("Cache-Control", "no-store")
	x.w.WriteHeader(status)
	x.info.Status = status
}

var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a valid one
	return z
}}

// send sends a body, compressed if that is wanted and worth it, in pieces if it is to drip.
func (x *exchange) send(status int, kind string, body []byte) {
	asked := strings.Contains(x.r.Header.Get("Accept-Encoding"), "gzip") && len(body) > 1400
	if (asked && x.s.Gzip != "off") || (x.s.Gzip == "always" && len(body) > 0) {
		var b bytes.Buffer
		z := gzips.Get().(*gzip.Writer)
		z.Reset(&b)
		z.Write(body)
		z.Close()
		gzips.Put(z)
		body = b.Bytes()
		x.w.Header().Set("Content-Encoding", "gzip")
	}
	x.w.Header().Set("Vary", "Accept-Encoding")
	x.header(status, kind, len(body))
	if x.s.Drip == 0 || x.m == 0 {
		x.w.Write(body)
		return
	}
	piece := x.s.DripBytes
	if piece == 0 {
		piece = 4096
	}
	flush := http.NewResponseController(x.w)
	for len(body) > 0 {
		n := min(piece, len(body))
		if _, err := x.w.Write(body[:n]); err != nil {
			return
		}
		flush.Flush()
		if body = body[n:]; len(body) > 0 && !x.pause(x.s.Drip) {
			panic(http.ErrAbortHandler)
		}
	}
}

// bomb is a gzip stream of about a megabyte that unpacks to an envelope whose message has a gigabyte.
var bomb = sync.OnceValue(func() []byte {
	pack := func(s []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(s)
		z.Close()
		return b.Bytes()
	}
	// A gzip stream may have many members, so one packed megabyte serves a thousand times.
	b := pack([]byte(`{"meta":{"code":0,"message":"`))
	meg := pack(bytes.Repeat([]byte{'A'}, 1<<20))
	for range 1024 {
		b = append(b, meg...)
	}
	return append(b, pack([]byte(`","request_id":"x"},"data":null}`))...)
})
