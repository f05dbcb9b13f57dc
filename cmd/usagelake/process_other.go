//go:build !unix

package main

import "os"

func handedOn(os.Signal) bool { return true }

func endedBy(*os.ProcessState) (int, bool) { return 0, false }
