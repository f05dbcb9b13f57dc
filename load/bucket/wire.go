package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/usagelake/usagelake/schemas/words"
)

// wire sends requests, each once, and knows afterwards what became of them. Redirects aren't followed: nobody but the
// host that was named is shown credentials.
type wire struct {
	base  http.RoundTripper
	agent string
	stall time.Duration // a request of which nothing moved for so long is ended
}

// Ends of patience. Between them lies whatever a body takes.
const (
	stallAfter  = 2 * time.Minute
	answerAfter = 2 * time.Minute // from the last byte that was sent to the first of the answer
)

func newWire(o Options) *wire {
	base := o.Transport
	if base == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 32
		t.ResponseHeaderTimeout = answerAfter
		base = t
	}
	return &wire{base: base, agent: o.UserAgent, stall: stallAfter}
}

// flight is what became of a request, for those who are given it by somebody else's library.
type flight struct {
	err    error          // of the transport, with no URL around it
	answer *http.Response // its headers; nil if there was none
}

type flightKey struct{}

func withFlight(ctx context.Context) (context.Context, *flight) {
	f := &flight{}
	return context.WithValue(ctx, flightKey{}, f), f
}

// RoundTrip sends a request.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	guard := time.AfterFunc(w.stall, func() { cancel(errStalled) })
	req = req.Clone(ctx)
	req.Header.Set("User-Agent", w.agent)
	// What is stored is what is read: nobody packs or unpacks it on the way.
	req.Header.Set("Accept-Encoding", "identity")
	moved := func() { guard.Reset(w.stall) }
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &moving{ReadCloser: req.Body, moved: moved}
		if anew := req.GetBody; anew != nil {
			req.GetBody = func() (io.ReadCloser, error) {
				r, err := anew()
				return &moving{ReadCloser: r, moved: moved}, err
			}
		}
	}
	resp, err := w.base.RoundTrip(req)
	f, _ := ctx.Value(flightKey{}).(*flight)
	if f != nil {
		*f = flight{err: err, answer: resp}
	}
	if err != nil {
		guard.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
			err = cause
		}
		cancel(nil)
		if f != nil {
			f.err = err
		}
		return nil, err
	}
	moved()
	resp.Body = &moving{ReadCloser: resp.Body, moved: moved, cause: func() error { return context.Cause(ctx) },
		closed: func() {
			guard.Stop()
			cancel(nil)
		}}
	return resp, nil
}

var errStalled = errors.New("nothing moved for minutes")

// moving tells of each byte that moves.
type moving struct {
	io.ReadCloser
	moved, closed func()
	cause         func() error
}

func (m *moving) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	if n > 0 {
		m.moved()
	}
	if err != nil && err != io.EOF && m.cause != nil && errors.Is(m.cause(), errStalled) {
		err = errStalled
	}
	return n, err
}

func (m *moving) Close() error {
	if m.closed != nil {
		m.closed()
	}
	return m.ReadCloser.Close()
}

// lost makes an error of a request that has no answer.
func lost(ctx context.Context, err error) *Error {
	err = plain(err)
	e := &Error{Err: err, again: ctx.Err() == nil}
	var cert *tls.CertificateVerificationError
	var host *net.DNSError
	switch {
	case errors.As(err, &cert) || errors.As(err, new(x509.UnknownAuthorityError)):
		e.again, e.Hint = false, "the store's certificate isn't trusted here: mend it, or add its authority to the system's"
	case errors.As(err, &host) && host.IsNotFound:
		e.again, e.Hint = false, "no such host: see the endpoint and the URL, and whether this machine reaches it"
	case !neverSent(err):
		e.Err = fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return e
}

// errNoAnswer says that a request was sent, maybe, and no answer came.
var errNoAnswer = errors.New("no answer")

// neverSent says that a request can't have reached anybody.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") ||
		errors.As(err, new(*net.DNSError)) || errors.As(err, new(*tls.CertificateVerificationError))
}

// plain is the cause of an error without the URL that net/http puts around it: queries hold signatures.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// unsure says of a failed put what that means: whether it may have been done. A store keeps nothing of a body that
// wasn't sent to its end, whatever became of the connection; sent is nil where none was.
func unsure(e *Error, sent *section) *Error {
	whole, err := sent.state()
	if err != nil {
		var own *Error
		if errors.As(err, &own) {
			return own
		}
		return &Error{Err: err}
	}
	if !whole {
		e.cut = errors.Is(e.Err, errNoAnswer)
		return e
	}
	if errors.Is(e.Err, errNoAnswer) || e.Status >= 500 && e.Status != http.StatusNotImplemented &&
		e.Status != http.StatusInsufficientStorage {
		e.Err = fmt.Errorf("%w: %w", ErrUnsure, e.Err)
	}
	return e
}

// refusal is an answer that is no success, as each store words it.
type refusal struct {
	status        int
	code, message string
	id            string // of the request
	after         time.Duration
	skew          time.Duration // how much later the store's clock is than this machine's
}

func refusalOf(resp *http.Response) refusal {
	r := refusal{status: resp.StatusCode}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		r.after = time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		r.skew = time.Until(t)
	}
	return r
}

// says is what the store says, in a line.
func (r refusal) says() string {
	text := r.code
	if r.message != "" && r.message != r.code {
		if text != "" {
			text += ": "
		}
		text += r.message
	}
	if text == "" {
		text = http.StatusText(r.status)
	}
	return words.Clip(words.Line(text), 300)
}

// maxSkew is how far the clock may be off before stores refuse what is signed by it: 15 minutes at most of them, 5 of
// tokens.
const maxSkew = 4 * time.Minute

// error makes an error of what every store means by a status. what is the cause in the terms of this package, if the
// store's code told; nil goes by the status.
func (r refusal) error(what error) *Error {
	e := &Error{Status: r.status, RequestID: r.id, after: r.after}
	switch s := r.status; {
	case what != nil:
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		what = ErrRights
	case s == http.StatusTooManyRequests:
		e.again = true
	case s == http.StatusRequestTimeout:
		e.again = true
	case s == http.StatusInsufficientStorage:
		what = errFull
	case s >= 500 && s != http.StatusNotImplemented:
		e.again = true
	}
	if what == nil {
		e.Err = errors.New(r.says())
	} else {
		e.Err = fmt.Errorf("%w: %s", what, r.says())
	}
	switch {
	case errors.Is(what, errFull):
		e.Hint = "make room in the store or raise its quota, then run it again"
	case errors.Is(what, ErrRights) && r.skew.Abs() > maxSkew:
		e.Hint = fmt.Sprintf("this machine's clock is %s off from the store's: set it (timedatectl set-ntp true)",
			words.Span(r.skew.Abs()))
	}
	return e
}

// errFull says that the store has no room left.
var errFull = errors.New("the store is full")

// errConflict says that another write of the object was under way: it was refused, and may go through a moment later.
var errConflict = errors.New("another write of it is under way")

// conflict is a refusal to be repeated.
func (r refusal) conflict() *Error {
	e := r.error(errConflict)
	e.again = true
	return e
}

// section is a part of a body as it is sent: opened when it is first read, and again after it was sought in. What goes
// wrong at its source is remembered: a transport that fails for it says so in its own words.
type section struct {
	ctx  context.Context
	body Body
	from int64
	size int64

	mu  sync.Mutex // transports read on in the background
	pos int64
	end bool // it was read to its end, once
	r   io.ReadCloser
	err error
}

func whole(ctx context.Context, body Body) *section {
	return &section{ctx: ctx, body: body, size: body.Size}
}

// state says whether all of it was read, and what went wrong at its source.
func (s *section) state() (end bool, err error) {
	if s == nil {
		return true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end || s.size == 0, s.err
}

func (s *section) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pos >= s.size {
		return 0, io.EOF
	}
	n, err := s.readLocked(b)
	s.pos += int64(n)
	s.end = s.end || s.pos == s.size
	if err == io.EOF && s.pos < s.size {
		err = errChanged(s.from+s.pos, s.body.Size)
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *section) readLocked(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.r == nil {
		r, err := s.body.Open()
		if err != nil {
			return 0, err
		}
		s.r = r
		if at := s.from + s.pos; at > 0 {
			if seeker, ok := r.(io.Seeker); ok {
				_, err = seeker.Seek(at, io.SeekStart)
			} else {
				_, err = io.CopyN(io.Discard, r, at)
			}
			if err != nil {
				return 0, err
			}
		}
	}
	return s.r.Read(b[:min(int64(len(b)), s.size-s.pos)])
}

func (s *section) Seek(offset int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 || offset > s.size {
		return 0, errors.New("seek outside of a body")
	}
	if offset != s.pos {
		s.closeLocked()
	}
	s.pos = offset
	return offset, nil
}

func (s *section) closeLocked() {
	if s.r != nil {
		_ = s.r.Close() // it was read alone
		s.r = nil
	}
}

func (s *section) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
	return nil
}

// attach makes s the body of a request. Whoever finds its idle connection closed, with nothing sent, may begin anew.
func (s *section) attach(req *http.Request) {
	req.ContentLength = s.size
	if s.size == 0 {
		req.Body, req.GetBody = http.NoBody, func() (io.ReadCloser, error) { return http.NoBody, nil }
		return
	}
	req.Body = s
	req.GetBody = func() (io.ReadCloser, error) {
		_, err := s.Seek(0, io.SeekStart)
		return s, err
	}
}

// drain lets a connection be used again.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

// maxAnswer is the longest answer that is read into memory: a page of a listing has 1,000 keys of 1,024 bytes, encoded.
const maxAnswer = 16 << 20

// readAll reads an answer whole.
func readAll(ctx context.Context, resp *http.Response) ([]byte, *Error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close()
	if err != nil {
		e := lost(ctx, err)
		e.Status = resp.StatusCode
		return nil, e
	}
	return b, nil
}

// endpoint takes a compatible store's address apart.
func endpoint(s string) (*url.URL, error) {
	bad := func(why string) error { return &Error{Err: errors.New("the endpoint " + why)} }
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, bad("is no URL")
	case u.User != nil:
		return nil, bad("holds a user or password: credentials come from the environment, a profile or an identity")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, bad("holds a query")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, bad("is not https://HOST[:PORT]")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, bad("is http://, which is for this machine itself alone: keys and data would cross the network readably")
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
