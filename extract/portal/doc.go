// Package portal simulates the Portal whose Manager API usagelake reads: GET /usage, GET /balance and the life of
// management keys, under /api/v1/portal/management, with seeded data, strict limits and faults to switch on.
//
//	request → key (401) → limiter (429) → fault → scope (403) → parameters (400) → rows on demand → body → wire fault
//
// What it owns: a made-up world per organisation (teams, tokens, users, prices), from which every record of an hour
// follows by arithmetic. Nothing but a cache of hours is held, so an organisation may have millions of records.
//
// Guarantee: the same seed gives the same world, keys and records; money is integers throughout; [Portal.Truth] and the
// API speak from the same integers, so a test may compare an export with it to the last decimal.
//
// Limit: what the Portal's own documentation leaves open (order, inclusive ends, the largest page, …) is one reading by
// default and a fault otherwise; see [FaultNames]. It imports the standard library only, so that it shares no code, and
// no misreading, with the client it tests.
package portal
