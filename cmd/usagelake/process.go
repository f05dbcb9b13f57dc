package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// exitCrash is what a shell and a container's runtime make of SIGABRT, which a crash ends with.
const exitCrash = 128 + int(syscall.SIGABRT)

// begin comes before all else in the process. Go ends with 2 after a panic, a fatal error and a signal such as SIGSEGV
// or SIGABRT, in its own code and in DuckDB's: here that is bad usage, which no supervisor is to try again. It is told
// to end by SIGABRT, which is a crash to all of them. A process 1, as in a container, can't be ended so: it starts
// another that does the work, and says how that one ended. No crash leaves a core dump, for it would hold the keys.
func begin() {
	if os.Getpid() == 1 {
		os.Exit(supervise(os.Args, os.Stderr))
	}
	noCoreDump()
	debug.SetTraceback("crash")
}

// supervise runs this program again, hands on its signals, and returns its exit code: of one that a signal ended, 128
// and the signal. It does nothing else, so that there is nothing in it to crash; should it be killed, the container
// ends, and the program with it.
func supervise(args []string, stderr io.Writer) int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintf(stderr, "usagelake: %v\n", err)
		return exitFailed
	}
	signals := make(chan os.Signal, 16)
	// Before the start, or a signal in between would be lost. A process 1 has no default for signals: what isn't taken
	// here would be ignored.
	signal.Notify(signals)
	c := exec.Command(self, args[1:]...)
	c.Args[0] = args[0]
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		fmt.Fprintf(stderr, "usagelake: %v\n", err)
		return exitFailed
	}
	go func() {
		for s := range signals {
			if handedOn(s) {
				_ = c.Process.Signal(s) // it may have ended just now
			}
		}
	}()
	err = c.Wait()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		fmt.Fprintf(stderr, "usagelake: %v\n", err)
		return exitFailed
	}
	if by, ok := endedBy(c.ProcessState); ok {
		return 128 + by
	}
	return c.ProcessState.ExitCode()
}
