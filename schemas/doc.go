// Package schemas holds the words the stages of usagelake share, and nothing that acts on the world.
//
// It owns: the intervals of time an export is made of (Window, Date, Partition), exact money (Decimal), what
// extract hands over (Page, Seal), what transform yields (the Arrow schemas, Reject, Issue), what a derived day
// says about itself (DayFooter), and the SQL of the published file (package directory sql).
//
//	extract  ──Page, Seal──▶  load (raw archive)  ──Seal, Page──▶  transform  ──Arrow, Reject, Issue──▶  load (day file)
//
// The stages never import each other; they meet in these types, and jobs composes them. The package imports no
// other package of the project.
package schemas
