// Package load owns the lake: its directory, and how files get into it.
//
//	Seal      pages of a window ─▶ raw/…            the commit point; never changed, never fetched again
//	CreateDay Arrow batches     ─▶ usage/…/usage.parquet and quarantine/…, one rename each
//	WriteBalance                ─▶ balance/…
//	AppendRun                   ─▶ journal/runs.jsonl
//	PruneDay  old raw files     ─▶ a tombstone in their place: the day file is the source from then on (see Source)
//
// The guarantee: whoever reads the glob usage/**/*.parquet at any moment, a crash included, sees each file as it was or
// as it is to be, whole. A file is written beside the others in .tmp, synced, renamed, and its directory synced
// (package durable); whatever was begun and not renamed is dropped by the next holder of the lock. What is derived
// carries the digest of what it was derived from (DayDigest), so what is left to do is read off the files, and doing it
// again gives the same bytes. What can't be derived any more, nothing replaces or removes (Frozen).
//
// The limit: one writer at a time (Lock), on a file system with flock and rename. Readers need no lock and may be on a
// lake they can only read. The package knows neither the network nor what a record means; time enters only where a
// caller or the lock's holder says it.
package load
