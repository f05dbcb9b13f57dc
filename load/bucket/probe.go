package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// ProbePrefix is what the names of Probe's objects begin with. One that was killed leaves its object behind.
const ProbePrefix = "usagelake-probe-"

// Probe finds out whether a bucket keeps what a Bucket promises: that a second create is refused, and a put over a
// state that is gone. It puts a small object under a random name and deletes it, five requests; nil says that all is
// well. A store that does what it was asked not to is refused with what to do, and so is one that can't be asked.
func Probe(ctx context.Context, b Bucket) (err error) {
	for range 3 { // an answer that is lost says nothing
		if err = probe(ctx, b); !errors.Is(err, ErrUnsure) {
			return err
		}
	}
	return err
}

func probe(ctx context.Context, b Bucket) (err error) {
	name := ProbePrefix + rand.Text()
	defer func() {
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer done()
		err = errors.Join(err, b.Delete(ctx, name))
	}()
	put := func(says string, on On) (Tag, error) {
		return b.Put(ctx, name, Bytes([]byte(says+" "+name+"\n")), on)
	}
	ignored := func(what string) error {
		return &Error{Op: "probe", URL: b.URL() + "/" + name, Err: fmt.Errorf("the store ignores conditions: %s", what),
			Hint: noConditions}
	}
	first, err := put("first", On{Absent: true})
	if err != nil {
		return err
	}
	if _, err := put("second", On{Absent: true}); err == nil {
		return ignored("it wrote an object anew that was to be written only if there was none")
	} else if !errors.Is(err, ErrTaken) {
		return err
	}
	if _, err = put("third", On{Match: first}); errors.Is(err, ErrTaken) {
		return &Error{Op: "probe", URL: b.URL() + "/" + name, Err: errors.New("the store doesn't know its own ETag again"),
			Hint: noConditions}
	} else if err != nil {
		return err
	}
	if _, err := put("fourth", On{Match: first}); err == nil {
		return ignored("it wrote over a state that was to be written over only if it was another")
	} else if !errors.Is(err, ErrTaken) {
		return err
	}
	return nil
}
