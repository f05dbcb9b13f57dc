// Package config owns what people set: usagelake.yaml, and the environment and flags that stand above it.
//
//	file ─▶ keys that are known, values that are of their type     (all mistakes at once, by line)
//	     ─▶ environment and flags above it, defaults below, paths beside the file
//	     ─▶ Validate                                               (all mistakes at once, by line)
//
// A Config that Load returns can be meant: whoever takes one checks nothing of it again. Every mistake is ErrUsage, and
// its text holds no secret. Secrets aren't in a Config: it has the names of the variables and files that hold them,
// which are read when they are needed, so that they can be replaced while a daemon runs.
//
// What the files say that a config names (rules, invoices, names) is read by jobs.
package config
