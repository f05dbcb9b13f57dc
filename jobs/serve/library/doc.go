// Package library is what all who answer finance read by: which file may answer whom, how long, how many at once.
//
//	who asks (Sight) ─▶ the published file, or what was carved of it for him ─▶ Reader ─▶ an answer, made or kept
//
// The guarantee: who may not see all gets a Reader of a file that has what is his and nothing else (query.Carve), and
// no way to another, and of the folders of closed months what is his (Handout); a request ends on the file that it
// began on, and the next one sees what was published meanwhile. What was asked for is made anew of the next file while
// nobody waits (Watch).
//
// The limit: what is carved and kept goes with the file that it was made of.
package library
