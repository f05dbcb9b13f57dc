// Package evidence writes what a figure was made of: a folder that an auditor checks offline, with DuckDB, sha256sum
// and ssh-keygen, and without this program.
//
//	the month as it was closed, or as it is known · a lake in which it was derived anew from the sealed windows
//	  ─▶ records · what the rules said of them · shares of pools · ledger, journal, rules, manifest · sealed files
//	  ─▶ check.sql, arithmetic.sql, README.md, evidence.json, SHA256SUMS
//	  ─▶ check.sql is run before the folder is there: one that doesn't hold is an *Unproven
//
// It guarantees that the same state gives the same bytes, and that a folder is there whole or not at all. Its limit: it
// shows that figures follow from what the gateway answered and from the rules, and not that either is right; and of
// prepaid credit what an account's days drew on, and not which record of a day drew on what.
package evidence
