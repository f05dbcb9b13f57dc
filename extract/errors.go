package extract

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Sentinels that an *APIError wraps, to be asked for with errors.Is. They say what can be done about it.
var (
	// ErrRefused: the key isn't accepted (401) or may not do this (403). Nothing more is asked with it.
	ErrRefused = errors.New("the key was refused")
	// ErrThrottled: too many requests (429), for longer than the client waits.
	ErrThrottled = errors.New("the rate limit stayed exceeded")
	// ErrTemporary: it may pass: a timeout, a broken connection, a 5xx, an answer that can't be read.
	ErrTemporary = errors.New("temporary failure")
	// ErrPermanent: asking again gives the same: a 400, a redirect, an answer of unknown shape.
	ErrPermanent = errors.New("permanent failure")
)

// APIError is a request that got no usable answer, after all retries.
type APIError struct {
	Account   string
	Op        string // what was asked for: "GET /usage page 3 of 2026-11-01T00:00:00Z/…"
	Status    int    // HTTP status; 0 if there was no answer
	Message   string // the API's own, or what is wrong with the answer; free of keys
	RequestID string // the API's, "" if it gave none
	Attempts  int
	Kind      error // one of the sentinels
	Cause     error // of the network; nil otherwise

	retryAfter time.Duration
}

func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "account %s: %s: ", e.Account, e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, "HTTP %d: ", e.Status)
	}
	b.WriteString(e.Message)
	id := e.RequestID
	if id == "" && e.Status != 0 {
		id = "none"
	}
	if id != "" {
		fmt.Fprintf(&b, " (request_id %s", id)
		if e.Attempts > 1 {
			fmt.Fprintf(&b, ", attempt %d", e.Attempts)
		}
		b.WriteString(")")
	} else if e.Attempts > 1 {
		fmt.Fprintf(&b, " (attempt %d)", e.Attempts)
	}
	return b.String()
}

// Unwrap gives the sentinel and the network's error.
func (e *APIError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

const longestMessage = 300

// redact makes text from outside fit for a message: no key, no control characters, not long.
func redact(text string, keys schemas.Secrets) string {
	return words.Clip(words.Line(keys.Blank(text)), longestMessage)
}
