//go:build unix && !linux

package main

import "golang.org/x/sys/unix"

// noCoreDump keeps the process's memory from being written to a file.
func noCoreDump() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
