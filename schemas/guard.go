package schemas

import (
	"fmt"
	"runtime/debug"
)

// PanicError is a panic that was caught: a mistake in the program, which fails a run and not the process.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("a mistake in the program (panic: %v): please report it with the log", e.Value)
}

// Guard is deferred by whoever runs a part of a job, in each goroutine: it makes a panic the error of that part.
func Guard(err *error) {
	if p := recover(); p != nil {
		if inner, ok := p.(*PanicError); ok {
			*err = inner
			return
		}
		*err = &PanicError{Value: p, Stack: debug.Stack()}
	}
}
