//go:build unix

package main

import (
	"os"
	"syscall"
)

// handedOn says that a signal is meant for the program, and not for whoever started it.
func handedOn(s os.Signal) bool { return s != syscall.SIGCHLD && s != syscall.SIGURG }

// endedBy is the signal that ended a process.
func endedBy(s *os.ProcessState) (int, bool) {
	status, ok := s.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return 0, false
	}
	return int(status.Signal()), true
}
