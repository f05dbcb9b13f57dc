package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Message is what one receiver is sent at once: the notifications of a check. What it says is fixed when it is made,
// and its id is a digest of that; only the fields of its delivery change.
type Message struct {
	ID            string         `json:"id"` // the same however often it is sent
	To            string         `json:"to"` // the receiver
	At            time.Time      `json:"at"`
	Lake          string         `json:"lake"` // its directory
	Notifications []Notification `json:"notifications"`

	Attempts int       `json:"attempts,omitempty"` // checks that tried in vain
	NextAt   time.Time `json:"next_at,omitzero"`   // not before
	Error    string    `json:"error,omitempty"`    // why the last attempt failed; holds no secret
	Refused  bool      `json:"refused,omitempty"`  // the receiver answered that it doesn't take it
}

// Limits of the outbox.
const (
	// maxTogether is how many notifications a message holds; what is more goes in further ones.
	maxTogether = 100
	// maxWaiting is how many messages wait for a receiver, and Keep how long: an alert that goes on is told again anyway,
	// and a receiver that is gone for good must not have the state grow for ever.
	maxWaiting = 500
	Keep       = 7 * 24 * time.Hour

	// The pauses between two tries: 1, 2, 4 … 60 minutes.
	firstPause = time.Minute
	maxPause   = time.Hour
	maxAfter   = 6 * time.Hour // how long a receiver may ask to be left alone
)

// Enqueue puts notifications into the outbox, a message for each receiver that they are for. They stand at its end:
// each receiver's messages are in the order of the checks, which Deliver keeps.
func (s *State) Enqueue(now time.Time, lake string, notifications []Notification) {
	by := map[string][]Notification{}
	var order []string
	for _, n := range notifications {
		for _, to := range n.to {
			if by[to] == nil {
				order = append(order, to)
			}
			by[to] = append(by[to], n)
		}
	}
	for _, to := range order {
		for part := range slices.Chunk(by[to], maxTogether) {
			m := Message{To: to, At: now.UTC().Round(0), Lake: lake, Notifications: slices.Clone(part)}
			m.ID = messageID(m)
			s.Outbox = append(s.Outbox, m)
		}
	}
}

func messageID(m Message) string {
	ids := []string{m.To}
	for _, n := range m.Notifications {
		ids = append(ids, n.ID)
	}
	return digest(strings.Join(ids, "\x00"))
}

// TestMessage is a message that tells of nothing, to try a receiver with.
func TestMessage(now time.Time, lake, to string) Message {
	now = now.UTC().Round(0)
	m := Message{To: to, At: now, Lake: lake, Notifications: []Notification{{
		ID: notificationID("test/"+to, now, 0), State: Test, At: now, Since: now,
		Finding: Finding{Rule: "test", Kind: "test", Severity: Warning, Subject: to,
			Summary: "a test of the receiver " + to + " (it is fine if you can read this)"},
	}}}
	m.ID = messageID(m)
	return m
}

// Prune drops messages that nobody can have any more: those for receivers that are no longer there, those that were in
// vain for Keep, and the oldest of too many, which come first. It returns them, for somebody to log: they are lost. A
// clock that leaps ahead by more than Keep has all of them dropped; what goes on is told again at its interval.
func (s *State) Prune(now time.Time, known func(receiver string) bool) (dropped []Message) {
	waiting := map[string]int{}
	for _, m := range s.Outbox {
		waiting[m.To]++
	}
	s.Outbox = slices.DeleteFunc(slices.Clone(s.Outbox), func(m Message) bool {
		drop := !known(m.To) || now.Sub(m.At) > Keep || waiting[m.To] > maxWaiting
		if drop {
			waiting[m.To]--
			dropped = append(dropped, m)
		}
		return drop
	})
	return dropped
}

// Receiver takes messages. Send returns nil if the message was taken, and else a *SendError or the context's error; no
// error holds a secret.
type Receiver interface {
	Name() string
	Send(ctx context.Context, m Message) error
}

// SendError says that a message was not taken.
type SendError struct {
	Receiver string
	Detail   string
	// Refused says that the receiver answered and doesn't take this message: another may still be taken.
	Refused bool
	// After is how long the receiver asked to be left alone; 0 if it didn't.
	After time.Duration
}

func (e *SendError) Error() string { return fmt.Sprintf("receiver %s: %s", e.Receiver, e.Detail) }

// Delivery is what came of a receiver's messages in a check.
type Delivery struct {
	Receiver string `json:"receiver"`
	Sent     int    `json:"sent"`            // messages
	Failed   int    `json:"failed"`          // messages that were tried in vain
	Waiting  int    `json:"waiting"`         // messages that are to be sent again
	Error    string `json:"error,omitempty"` // why the first of them could not be
}

// Deliver sends what is due, to the receivers side by side and to each in order, and takes what was sent out of the
// outbox. A receiver that doesn't answer is left alone until the next check, and what waits behind the message waits
// with it; a message that was refused lets the others pass. What waits is tried again after a pause that doubles from a
// minute to an hour, or as long as the receiver asked for. If ctx is cancelled, what is left waits as it is; if its
// deadline passes, so does what was not begun, and a receiver that was being waited for has failed.
func (s *State) Deliver(ctx context.Context, now time.Time, receivers []Receiver) []Delivery {
	now = now.UTC().Round(0)
	deliveries := make([]Delivery, len(receivers))
	left := make([][]Message, len(receivers))
	var wg sync.WaitGroup
	for i, r := range receivers {
		var mine []Message
		for _, m := range s.Outbox {
			if m.To == r.Name() {
				mine = append(mine, m)
			}
		}
		wg.Go(func() { deliveries[i], left[i] = deliverTo(ctx, now, r, mine) })
	}
	wg.Wait()
	// The order among receivers doesn't matter, so those that were at work come first and the others behind.
	outbox := slices.DeleteFunc(slices.Clone(s.Outbox), func(m Message) bool {
		return slices.ContainsFunc(receivers, func(r Receiver) bool { return r.Name() == m.To })
	})
	s.Outbox = slices.Concat(append(left, outbox)...)
	return deliveries
}

// deliverTo sends one receiver its messages and returns what is left of them, in their order. What of them was taken is
// known to the caller alone until the state is written down: a kill before that has them sent once more, under the same
// ids, by which a receiver knows them.
//
// blocked is that what follows has to wait: a message stands before it that the receiver may yet take. One that was
// refused is no such, whether just now or by an earlier check.
func deliverTo(ctx context.Context, now time.Time, r Receiver, messages []Message) (d Delivery, left []Message) {
	d.Receiver = r.Name()
	blocked := false
	for _, m := range messages {
		pause := m.NextAt.Sub(now)
		if blocked || ctx.Err() != nil || pause > 0 && pause <= maxAfter { // a longer one is of a clock that was ahead
			blocked = blocked || !m.Refused
			left = append(left, m)
			continue
		}
		err := send(ctx, r, m)
		if err == nil {
			d.Sent++
			continue
		}
		// The time of the check was up while the receiver was being waited for: it had its chance, or one that always hangs
		// would be tried at each check and never seen to fail.
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
			err = &SendError{Receiver: r.Name(), Detail: "no answer within the time of a check"}
		}
		if !errors.Is(ctx.Err(), context.Canceled) { // else it was broken off, and is no failure of the receiver's
			m = m.failed(now, err)
			d.Failed++
		}
		blocked = blocked || !m.Refused
		left = append(left, m)
	}
	d.Waiting = len(left)
	for _, m := range left {
		if m.Error != "" && d.Error == "" {
			d.Error = m.Error
		}
	}
	return d, left
}

// send is Send, in which a panic is an error: one receiver must not take the others' deliveries along.
func send(ctx context.Context, r Receiver, m Message) (err error) {
	defer schemas.Guard(&err)
	return r.Send(ctx, m)
}

// failed is the message after another attempt in vain.
func (m Message) failed(now time.Time, err error) Message {
	m.Attempts++
	m.Error, m.Refused = err.Error(), false
	// The shift is bounded, for the number of attempts isn't.
	pause := min(firstPause<<min(m.Attempts-1, 10), maxPause)
	if send := (*SendError)(nil); errors.As(err, &send) {
		m.Refused = send.Refused
		pause = max(pause, min(send.After, maxAfter))
	}
	m.NextAt = now.Add(pause - firstPause/2) // a little early: checks come every minute or so
	return m
}
