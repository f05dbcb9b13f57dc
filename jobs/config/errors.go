package config

import (
	"errors"
	"fmt"
)

// ErrUsage marks what the user has to put right on the command line, in the environment or in the config.
var ErrUsage = errors.New("bad usage or config")

// Hint is an error with a next step for the user.
type Hint struct {
	Err  error
	Hint string // a command to type, or what to change
}

func (h *Hint) Error() string { return h.Err.Error() }

func (h *Hint) Unwrap() error { return h.Err }

// usageError is an error that is ErrUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func (e usageError) Is(target error) bool { return target == ErrUsage }

// Usage makes an error of what the user has to put right. hint may be "".
func Usage(hint, format string, args ...any) error {
	err := usageError{fmt.Errorf(format, args...)}
	if hint == "" {
		return err
	}
	return &Hint{Err: err, Hint: hint}
}
