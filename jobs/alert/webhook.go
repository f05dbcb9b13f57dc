package alert

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas/words"
)

// Headers of a webhook's request.
const (
	HeaderID        = "X-Usagelake-Id"        // the message's: the same however often it is sent
	HeaderTimestamp = "X-Usagelake-Timestamp" // seconds since 1970 when this request was signed
	HeaderSignature = "X-Usagelake-Signature" // sha256= and the hex HMAC over timestamp, a full stop, and the body
)

// DefaultTimeout is how long an attempt may take.
const DefaultTimeout = 10 * time.Second

// Webhook posts messages, and what else there is to hand over, to a URL. It asks again, a few times, what may pass:
// what breaks off, 408, 429 and 5xx. It follows no redirect. The URL is taken for a secret, as Slack's is: no error
// shows it.
type Webhook struct {
	Receiver  string
	URL       string // CheckURL takes it
	Format    string // FormatJSON or FormatSlack; "" is FormatJSON
	Secret    string // signs the body; "": not signed
	Timeout   time.Duration
	UserAgent string
	Transport http.RoundTripper // nil: the system's, with its proxy settings
	Now       func() time.Time

	// Attempts, Base and Cap are of the retries within one Send: 3, a second and ten.
	Attempts  int
	Base, Cap time.Duration
}

// CheckURL says whether a webhook's URL may be used: https, or http to this machine. Its error shows nothing of the URL
// but its scheme.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return errors.New("what it holds is no URL such as https://host/path")
	case u.User != nil:
		return errors.New("the URL holds a user name or password: receivers know a webhook by its path, and the body by " +
			"its signature (hmac_env)")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("the URL is http://, which sends it in the clear: write https:// (http is taken for loopback " +
			"addresses alone)")
	}
	return fmt.Errorf("the URL's scheme %q is not https", u.Scheme)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Name is the receiver's.
func (w *Webhook) Name() string { return w.Receiver }

// Send posts the message, as Post does.
func (w *Webhook) Send(ctx context.Context, m Message) error {
	body, err := m.body(w.Format)
	if err != nil {
		return &SendError{Receiver: w.Receiver, Detail: err.Error(), Refused: true}
	}
	return w.Post(ctx, Payload{ID: m.ID, Type: "application/json; charset=utf-8", Size: int64(len(body)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }})
}

// Payload is what is posted.
type Payload struct {
	ID     string            // the value of HeaderID
	Type   string            // its Content-Type
	Header map[string]string // further headers
	Size   int64
	// Open gives the body from its beginning, the same each time: it is read to be signed, and to be sent.
	Open func() (io.ReadCloser, error)
}

// Post posts a payload. Tries within one call are for what passes in seconds; what takes longer is the caller's, so
// that one receiver doesn't use up the time of all: three attempts that hang take half a minute. A receiver that asks
// to be left alone for longer than Cap is, by the caller: the error, a *SendError or the context's, carries for how
// long.
func (w *Webhook) Post(ctx context.Context, p Payload) error {
	client := &http.Client{Transport: w.Transport, CheckRedirect: func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}}
	pause, most := cmp.Or(w.Base, time.Second), cmp.Or(w.Cap, 10*time.Second)
	for attempt := 1; ; attempt++ {
		again, err := w.post(ctx, client, p)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Between half of the pause and all of it.
		wait := max(pause/2+rand.N(pause/2+1), err.After)
		if !again || attempt >= cmp.Or(w.Attempts, 3) || wait > most {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, most)
	}
}

func (m Message) body(format string) ([]byte, error) {
	if format == FormatSlack {
		return m.Slack()
	}
	return m.JSON()
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 4 << 10

// post sends the payload once; again says that the same may work if it is sent again. An answer that is lost has it
// sent twice: HeaderID tells the receiver. The time is signed with the body, so that a request that was recorded can't
// be played back later; each attempt has its own.
func (w *Webhook) post(ctx context.Context, client *http.Client, p Payload) (again bool, _ *SendError) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(w.Timeout, DefaultTimeout))
	defer cancel()
	body, err := p.Open()
	if err != nil {
		return false, w.failed("%v", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, body)
	if err != nil {
		_ = body.Close()
		return false, w.failed("its URL can't be used")
	}
	req.ContentLength, req.GetBody = p.Size, p.Open
	for name, value := range p.Header {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", p.Type)
	req.Header.Set("User-Agent", w.UserAgent)
	req.Header.Set(HeaderID, p.ID)
	if w.Secret != "" {
		stamp := strconv.FormatInt(w.Now().Unix(), 10)
		signed, err := p.Open()
		if err != nil {
			_ = body.Close()
			return false, w.failed("%v", err)
		}
		signature, err := sign(w.Secret, stamp, signed)
		if err := errors.Join(err, signed.Close()); err != nil {
			_ = body.Close()
			return false, w.failed("%v", err)
		}
		req.Header.Set(HeaderTimestamp, stamp)
		req.Header.Set(HeaderSignature, signature)
	}
	res, err := client.Do(req) // which closes the body
	if err != nil {
		return true, w.failed("%s", w.reason(err))
	}
	defer res.Body.Close()
	// for a person, if it failed; how it ends is of no interest
	answer, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return false, nil
	// No refusal of the message, but a URL that has to be put right: all of them wait for that.
	case code >= 300 && code < 400:
		return false, w.failed("it answered with a redirect (%d), which is not followed: give the URL that it leads to", code)
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		e := w.failed("it answered %d%s", code, w.said(answer))
		e.After = retryAfter(res.Header.Get("Retry-After"), w.Now())
		return true, e
	default:
		e := w.failed("it answered %d%s", code, w.said(answer))
		e.Refused = true
		return false, e
	}
}

// Signature is the value of HeaderSignature.
func Signature(secret, timestamp string, body []byte) string {
	s, _ := sign(secret, timestamp, bytes.NewReader(body)) // which never fails
	return s
}

func sign(secret, timestamp string, body io.Reader) (string, error) {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	if _, err := io.Copy(mac, body); err != nil {
		return "", err
	}
	return "sha256=" + hex.EncodeToString(mac.Sum(nil)), nil
}

func (w *Webhook) failed(format string, args ...any) *SendError {
	return &SendError{Receiver: w.Receiver, Detail: fmt.Sprintf(format, args...)}
}

// reason is what broke off a request, without the URL: an *url.Error holds it, and so may the errors within. What is
// left is redacted all the same, for a proxy's error may quote what it was asked.
func (w *Webhook) reason(err error) string {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns):
		return "the name of its host can't be looked up"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no answer within %s", cmp.Or(w.Timeout, DefaultTimeout))
	}
	for inner := (*url.Error)(nil); errors.As(err, &inner); {
		err = inner.Err
	}
	return "it can't be reached: " + w.redact(err.Error())
}

// said is the beginning of an answer, for a person.
func (w *Webhook) said(answer []byte) string {
	s := strings.TrimSpace(words.Line(w.redact(string(answer))))
	if s == "" {
		return ""
	}
	return ": " + words.Clip(s, 200)
}

// redact takes the URL and the secret, and whatever parts of them would do, out of text. Segments of the path of eight
// letters and more may be a token of their own, such as Slack's; shorter ones are words like v1, and stay, so that the
// error can be read.
func (w *Webhook) redact(s string) string {
	parts := []string{w.URL, w.Secret}
	if u, err := url.Parse(w.URL); err == nil {
		parts = append(parts, u.String(), u.RequestURI(), u.Path, u.EscapedPath(), u.RawQuery, u.Host, u.Hostname())
		for _, v := range u.Query() {
			parts = append(parts, v...)
		}
		for p := range strings.SplitSeq(u.Path, "/") {
			if len(p) >= 8 {
				parts = append(parts, p)
			}
		}
	}
	for _, p := range parts {
		if len(p) > 1 {
			s = strings.ReplaceAll(s, p, "[…]")
		}
	}
	return s
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
