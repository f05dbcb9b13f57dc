// Package assist answers assistants, which speak the Model Context Protocol.
//
//	list_views                     what can be asked for: views, tables and macros, with what their columns mean
//	list_questions, ask_question   the twenty questions
//	list_reports, report           the reports of load/report, as tables
//	query                          one statement that reads
//
// A call ─▶ what may be seen (Options.Sight) ─▶ which file may answer (jobs/serve/library) ─▶ cells (answer.go) ─▶
// structured content, and the same as text.
//
// The guarantee: an answer has what may be seen and nothing else, no digit of an amount is lost, and it says of itself
// when it was published, how far the usage goes, how complete it is, and whether it was cut. The limit: nothing can be
// changed here, and texts of the usage are handed on as they are, less what steers a screen: whoever names a token or
// a user writes what an assistant reads.
package assist
