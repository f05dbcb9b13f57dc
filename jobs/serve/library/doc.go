// Package library is what all who answer finance read by: which file may answer whom, how long, how many at once.
//
//	who asks (Sight) ─▶ the published file, or what was carved of it for him ─▶ Reader ─▶ an answer, made or kept
//
// The guarantee: who may not see all gets a Reader of a file that has what is his and nothing else (query.Carve), and
// no way to another; a request ends on the file that it began on, and the next one sees what was published meanwhile.
// The limit: what is carved is made when it is first asked for, and goes with the file that it was made of.
package library
