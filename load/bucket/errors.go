package bucket

import (
	"errors"
	"time"

	"github.com/usagelake/usagelake/schemas/words"
)

// What a caller goes by. Every other error is one of the store, the network or the disk.
var (
	// ErrAbsent says that there is no object of that name (Get).
	ErrAbsent = errors.New("there is no such object")
	// ErrTaken says that a Put's condition didn't hold: with Absent there is an object already; with Match it is in
	// another state, or there is none.
	ErrTaken = errors.New("somebody else has written it")
	// ErrNoBucket says that the bucket or container isn't there, or of file:// the directory that its own is in.
	ErrNoBucket = errors.New("there is no such bucket")
	// ErrRights says that there are no or wrong credentials, or that they don't suffice (401, 403).
	ErrRights = errors.New("not allowed")
	// ErrUnsure says that a Put's answer was lost (a cut connection, 5xx, a timeout after it was sent): it may have been
	// done. Whoever must know reads the object.
	ErrUnsure = errors.New("the answer was lost: it may have been written")
)

// Error is every error of a bucket.
type Error struct {
	Op        string // open, get, put, list, delete
	URL       string // of the object or the bucket: no secrets, no query
	Status    int    // of HTTP; 0 if there was no answer
	RequestID string // by which the store's people find the request; "" if it said none
	Err       error  // wraps one of the errors above, or is the cause
	Hint      string // what to do, "" if that is plain

	// again says that the same may come out otherwise a moment later. A put that wraps ErrUnsure besides can be repeated
	// only if it depends on nothing.
	again bool
	after time.Duration // that the store asks to wait before
	cut   bool          // the connection ended while a body was sent: an answer that came before is gone
}

func (e *Error) Error() string {
	what := e.Err.Error()
	if e.Op != "" { // it is empty within another
		what = e.Op + " " + e.URL + ": " + what
	}
	return words.OfHTTP(what, e.Status, e.RequestID, e.Hint)
}

func (e *Error) Unwrap() error { return e.Err }

// noConditions is what to do about a store that can't do what this package is for.
const noConditions = "the store has no conditional writes (If-None-Match, If-Match), without which two writers " +
	"overwrite one another: take another store, or a newer version of it"

// dress makes an *Error of err, and says of what.
func dress(err error, op, url string) *Error {
	e := asError(err)
	e.Op, e.URL = op, url
	return e
}

// asError is err as an *Error: itself, if it is one, or around it.
func asError(err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Err: err}
}
