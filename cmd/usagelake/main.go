// Command usagelake exports a company's LLM usage from the Portal's Manager API into a lake of Parquet files and a
// DuckDB file.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // zones are known on a machine without a database of them

	"golang.org/x/term"
)

func main() {
	begin()
	ctx, stop := context.WithCancelCause(context.Background())
	// Before anything is opened. The first signal has what is being committed finished or given up, and the exit code says
	// which it was.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		sig := <-signals
		signal.Stop(signals) // the next one kills
		stop(&signalError{sig})
	}()
	os.Exit(run(ctx, os.Args[1:], streams{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Now: time.Now,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}))
}

// signalError is why a run stopped when a signal said so.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string { return fmt.Sprintf("stopped by %s", name(e.signal)) }

func name(s os.Signal) string {
	switch s {
	case os.Interrupt:
		return "SIGINT (Ctrl-C)"
	case syscall.SIGTERM:
		return "SIGTERM"
	}
	return s.String()
}
