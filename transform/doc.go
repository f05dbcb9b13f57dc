// Package transform turns the pages of sealed windows into the rows of a day: Arrow record batches, rejects and the
// findings of the quality checks.
//
// It owns the reading of the API's answers (both shapes), which record stands where two could, the order of a day's
// rows, and the checks. It is pure: no disk, network, clock or log; the same windows give the same batches.
//
//	windows ──schemas.Own──▶ owned segments, in time order
//	  per window: page ──fast decoder, else plain decoder──▶ staged records ──a record once──▶ order by time, id, content
//	  per segment: staged records within it ──▶ Batch (Arrow rows, rejects), checks, sums
//	after the last: Footer
//
// The guarantee: every record of an owned instant becomes one row or one reject; amounts are exact; what no column
// holds is kept in the column extra. The limit: two windows are held decoded at a time, so memory follows the largest
// window (and, by a few bytes each, the records of a day that no time places), and a window with many owned stretches
// may be read more than once.
//
// A record is the same as another if its id and its content are: the same bytes, or the same JSON with its keys in
// another order. Of the same ones of a window one stands. Those of one time and id with other content are all kept, and
// numbered by their content in the column ordinal. A second is owned by one window, so the numbers need no memory
// beyond it. Records of one time and id whose columns are alike may be one that came twice, with a field that changes
// with each answer, or two: nothing can tell, each is kept, and an issue of severity error says so.
//
// The fast decoder never judges: what it does not know well it leaves to the plain one, which defines what is right
// and against which it is fuzzed.
package transform

// Version counts the meanings of the transformation. It changes only when the same pages would give other rows; a day
// file of an older one is derived anew.
//
// 2: a record without a usable time that two windows of a day brought is quarantined once, if its id shows that it is
// one.
//
// 3: records of one id and other content are all kept; what lies outside of what was asked by less than schemas.MaxLag
// is another window's; a time in milliseconds or finer places its reject.
const Version = 3
