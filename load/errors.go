package load

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas/words"
)

// DamagedError says that a file of the lake is not what was written there: it is cut off, a digest or a checksum
// differs, or its name and its content contradict each other. Nothing of the file was changed.
type DamagedError struct {
	Path   string // of the file, the lake's directory included
	Detail string // what is wrong, for a person
	Hint   string // a command to type; "" if there is none
	Err    error  // what the decoder said; nil if it said nothing
}

func (e *DamagedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is damaged: %s", e.Path, e.Detail)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Hint != "" {
		b.WriteString("\nhint: ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

func (e *DamagedError) Unwrap() error { return e.Err }

// HeldError says that another process (or another caller in this one) holds the lake. What it says of the holder was
// written by the holder; a field it didn't get to write is zero.
type HeldError struct {
	Lake  string    `json:"-"` // the lake's directory
	PID   int       `json:"pid"`
	Host  string    `json:"host,omitempty"`
	Since time.Time `json:"since,omitzero"`  // UTC
	Doing string    `json:"doing,omitempty"` // the command
	RunID string    `json:"run_id,omitempty"`
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("the lake %s is held by %s\nhint: wait until it has ended, or pass --wait", e.Lake, e.Holder())
}

// Holder says who holds the lake: "process 4711 on etl-1, doing export, since 2026-11-01T02:00:00Z".
func (e *HeldError) Holder() string {
	var b strings.Builder
	if e.PID == 0 {
		b.WriteString("another process")
	} else {
		fmt.Fprintf(&b, "process %d", e.PID)
	}
	if e.Host != "" {
		fmt.Fprintf(&b, " on %s", e.Host)
	}
	if e.Doing != "" {
		fmt.Fprintf(&b, ", doing %s", e.Doing)
	}
	if !e.Since.IsZero() {
		fmt.Fprintf(&b, ", since %s", words.Instant(e.Since))
	}
	return b.String()
}

// Detail is what an error says, without the path and the hint a finding has of its own.
func Detail(err error) string {
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		if damaged.Err != nil {
			return damaged.Detail + ": " + damaged.Err.Error()
		}
		return damaged.Detail
	}
	return err.Error()
}
