package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Ends of patience, and bounds.
const (
	answerAfter = 2 * time.Minute // from the last byte that was sent to the first of the answer
	wholeAfter  = 5 * time.Minute // a request, answer and all
	maxAnswer   = 256 << 20       // of the metadata some hundred bytes a snapshot
	tries       = 5               // of what changes nothing
	firstWait   = 200 * time.Millisecond
	maxWait     = 30 * time.Second
	maxSkew     = 50 * time.Second // Iceberg's own implementation takes a minute
)

// Error is every error of a catalog.
type Error struct {
	Op        string // load, create, commit to
	Table     string // with its catalog: no secrets, no query
	Status    int    // of HTTP; 0 if there was no answer
	RequestID string // by which the catalog's people find the request; "" if it said none
	Err       error  // wraps one of the errors above, or is the cause
	Hint      string // what to do, "" if that is plain

	again bool
	after time.Duration // that the catalog asks to wait before
}

func (e *Error) Error() string {
	what := e.Err.Error()
	if e.Op != "" {
		what = e.Op + " " + e.Table + ": " + what
	}
	return words.OfHTTP(what, e.Status, e.RequestID, e.Hint)
}

func (e *Error) Unwrap() error { return e.Err }

// dress says of what an error is.
func (c *Catalog) dress(err error, op string) error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Err: err}
	}
	e.Op, e.Table = op, c.o.Table+" in the catalog "+c.URI()
	return e
}

// request is one, once or, if it changes nothing, until it is answered.
type request struct {
	method string
	url    *url.URL
	name   string     // of the table, where the path ends with it
	body   any        // JSON; nil for none
	form   url.Values // instead of a body, without the token
	again  bool       // it changes nothing
}

// ask sends a request and reads its answer.
func (c *Catalog) ask(ctx context.Context, r request, into any) error {
	var body []byte
	kind := "application/json"
	switch {
	case r.form != nil:
		body, kind = []byte(r.form.Encode()), "application/x-www-form-urlencoded"
	case r.body != nil:
		b, err := json.Marshal(r.body)
		if err != nil {
			return err
		}
		body = b
	}
	wait := firstWait
	for try := 1; ; try++ {
		err := c.once(ctx, r, body, kind, into)
		var e *Error
		if err == nil || !errors.As(err, &e) || !e.again || try == tries || ctx.Err() != nil {
			return err
		}
		pause := time.NewTimer(min(max(rand.N(wait), e.after), maxWait))
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
		wait *= 2
	}
}

func (c *Catalog) once(ctx context.Context, r request, body []byte, kind string, into any) error {
	ctx, done := context.WithTimeout(ctx, wholeAfter)
	defer done()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), bytes.NewReader(body))
	if err != nil {
		return &Error{Err: errors.New("the address makes no request")}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.o.UserAgent)
	if len(body) > 0 {
		req.Header.Set("Content-Type", kind)
	}
	if c.token != "" && r.form == nil {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.o.Sign != nil {
		if req, err = c.o.Sign(ctx, req, sha256.Sum256(body)); err != nil {
			return &Error{Err: err}
		}
	}
	c.n.Add(1)
	resp, err := c.wire.RoundTrip(req) // which follows no redirect
	if err != nil {
		return c.lost(r, err)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close()
	if err != nil {
		e := c.lost(r, err)
		e.Status = resp.StatusCode
		return e
	}
	if resp.StatusCode/100 != 2 {
		return c.refused(r, resp, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return r.unsure(&Error{Status: resp.StatusCode, RequestID: requestID(resp),
			Err: errors.New("the answer isn't the protocol's"), Hint: "is the address that of an Iceberg REST catalog?"})
	}
	return nil
}

// unsure makes of what became of a request ErrUnsure, if it matters whether it was done.
func (r request) unsure(e *Error) *Error {
	if !r.again {
		e.Err = fmt.Errorf("%w: %w", ErrUnsure, e.Err)
	}
	return e
}

// lost makes an error of a request that has no answer.
func (c *Catalog) lost(r request, err error) *Error {
	var u *url.Error
	if errors.As(err, &u) { // which has the URL around it
		err = u.Err
	}
	e := &Error{Err: errors.New(c.plain(err.Error())), again: r.again}
	var cert *tls.CertificateVerificationError
	var host *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &cert):
		e.again, e.Hint = false, "the catalog's certificate isn't trusted here: mend it, or add its authority to the system's"
	case errors.As(err, &host) && host.IsNotFound:
		e.again, e.Hint = false, "no such host: see the catalog's address, and whether this machine reaches it"
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"): // it can't have reached anybody
	default:
		return r.unsure(e)
	}
	return e
}

// refused makes an error of an answer that is no success.
func (c *Catalog) refused(r request, resp *http.Response, body []byte) *Error {
	// The protocol's own errors, or OAuth2's.
	var says struct {
		Error       json.RawMessage
		Description string `json:"error_description"`
	}
	var own struct{ Type, Message string }
	if json.Unmarshal(body, &says) == nil && json.Unmarshal(says.Error, &own) != nil {
		_ = json.Unmarshal(says.Error, &own.Type)
		own.Message = says.Description
	}
	text := own.Type
	if own.Message != "" {
		text = strings.TrimPrefix(text+": "+own.Message, ": ")
	}
	if text == "" {
		text = http.StatusText(resp.StatusCode)
	}
	text = c.plain(text)
	e := &Error{Status: resp.StatusCode, RequestID: requestID(resp), Err: errors.New(text)}
	because := func(what error) { e.Err = fmt.Errorf("%w: %s", what, text) }
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.after = time.Duration(s) * time.Second
	}
	switch s := resp.StatusCode; {
	case s/100 == 3:
		e.Err = errors.New("it redirects to somewhere else")
		e.Hint = "write the address that it redirects to into the config: credentials go to no host that it doesn't name"
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == 419:
		because(ErrRights)
		e.Hint = c.rights()
	case s == http.StatusNotFound && strings.Contains(own.Type, "Namespace"):
		e.Hint = "make the namespace in the catalog, such as CREATE SCHEMA " +
			strings.Join(c.table[:len(c.table)-1], ".") + " in Trino or Spark; a delivery makes only its table"
	case s == http.StatusNotFound && r.name != "" && own.Message != "": // which a server of something else doesn't say
		because(ErrAbsent)
	case s == http.StatusNotFound:
		e.Hint = "see the catalog's address (what comes before /v1/config), and the warehouse's name"
	case s == http.StatusConflict:
		because(ErrTaken)
	case s == http.StatusTooManyRequests:
		e.again = true // it wasn't done, whatever it was
	case s >= 500 && s != http.StatusNotImplemented:
		e.again = r.again
		return r.unsure(e)
	}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil && e.Hint == "" && time.Until(t).Abs() > maxSkew {
		e.Hint = fmt.Sprintf("this machine's clock is %s off from the catalog's, and catalogs take no snapshot of a later "+
			"time than theirs: set it (timedatectl set-ntp true)", words.Span(time.Until(t).Abs()))
	}
	return e
}

// rights says what to do where the catalog lets nobody in.
func (c *Catalog) rights() string {
	switch {
	case c.o.Client.ID != "":
		return "see client_id, its secret, scope and token_uri, and whether that client may create and commit to the table"
	case c.o.Sign != nil:
		return "see the region, and whether these credentials of AWS may glue:GetCatalog, glue:GetDatabase, glue:GetTable, " +
			"glue:CreateTable and glue:UpdateTable on the table, and what Lake Formation says of it"
	case c.o.Token != "":
		return "see the token, and whether who has it may create and commit to the table"
	}
	return "the catalog asks for credentials: token_env, client_id and client_secret_env, or sigv4"
}

// plain is text from outside, in a line, without secrets.
func (c *Catalog) plain(s string) string {
	secrets := schemas.NewSecrets(c.o.Token, c.token, c.o.Client.Secret)
	return words.Clip(words.Line(secrets.Blank(s)), 300)
}

// requestID is by what the people of a catalog find a request.
func requestID(resp *http.Response) string {
	for _, name := range []string{"X-Request-Id", "X-Amzn-Requestid", "X-Amz-Request-Id"} {
		if id := resp.Header.Get(name); id != "" {
			return words.Clip(words.Line(id), 100)
		}
	}
	return ""
}

// login gets a token by OAuth2's client credentials.
func (c *Catalog) login(ctx context.Context) error {
	at := c.path("oauth", "tokens")
	if c.o.Client.TokenURI != "" {
		u, err := address("the address for tokens", c.o.Client.TokenURI)
		if err != nil {
			return &Error{Err: err}
		}
		at = u
	}
	scope := c.o.Client.Scope
	if scope == "" {
		scope = "catalog"
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.o.Client.ID},
		"client_secret": {c.o.Client.Secret}, "scope": {scope}}
	var answer struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	err := c.ask(ctx, request{method: http.MethodPost, url: at, form: form, again: true}, &answer)
	if e := (*Error)(nil); err != nil {
		if errors.As(err, &e) {
			if e.Status == http.StatusBadRequest { // OAuth2's own for whoever it doesn't know
				e.Hint = c.rights()
			}
			e.Err = fmt.Errorf("get a token from %s: %w", at.Redacted(), e.Err)
		}
		return err
	}
	if answer.Token == "" {
		return &Error{Err: fmt.Errorf("get a token from %s: the answer has none", at.Redacted())}
	}
	c.token = answer.Token
	return nil
}
