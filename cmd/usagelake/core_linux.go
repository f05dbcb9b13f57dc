package main

import "golang.org/x/sys/unix"

// noCoreDump keeps the process's memory from being written to a file, or handed to a program that collects dumps, which
// a limit of the size doesn't do. Nor may other processes of the user read it.
func noCoreDump() {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // may be forbidden, as in the sandbox of the shipped units
}
