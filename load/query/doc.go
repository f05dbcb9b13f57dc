// Package query reads the published file: statements of anybody, snapshots narrowed to a Scope, and the exports of
// FOCUS.
//
//	Run           one statement that reads ─▶ Rows ─▶ CSV, JSON
//	WriteParquet  its answer ─▶ a file
//	OpenSnapshot  several queries on one publish, narrowed to owners if asked
//	ExportFocus   the FOCUS columns, split and named as asked
//
// The guarantee: a statement reaches nothing but the file that it reads, as it was when it was opened, and values come
// out exactly, as text. The limit: it writes nothing, neither to the file nor to the lake.
package query
