// Package durable writes files so that whoever looks at any moment, a crash included, sees each as it was or as it is
// to be, whole.
//
//	Tree  a directory that is written to by commits alone: temp file · fsync · close · rename · fsync of the directory
//	Out   a file outside of it, the same way, with the mode it is to have
//	Full  what to do about a disk that is full
//
// All of it goes through an FS, so that tests can make any step fail (durabletest). It knows no lake: what the files
// are is their writers' business, and who may write is asked of the caller before each commit.
package durable
