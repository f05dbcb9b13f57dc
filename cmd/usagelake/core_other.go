//go:build !unix

package main

// noCoreDump has nothing to do: no core files are written here.
func noCoreDump() {}
