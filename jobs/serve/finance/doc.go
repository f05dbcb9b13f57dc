// Package finance is the page for people who are asked what it costs, and who pays.
//
//	/finance/              the months, the reports, the twenty questions
//	/finance/REPORT        a report of load/report; .xlsx, .csv, .parquet and .json are the same as files
//	/finance/closed        a closed month: its files, and what was corrected since
//	/finance/compare       what rules that aren't in force would charge; compare-markups, compare-prices
//	/finance/records       the records behind a figure, a hundred at a time
//	/finance/questions     the twenty questions, each with its answer
//	/finance/sql           a box for one statement that reads
//
// A request ─▶ who asks (viewers.go) ─▶ which file may answer (library) ─▶ a page of it, made or kept ─▶ HTML.
//
// The guarantee: who may not see all is answered from a file that has what is his and nothing else (query.Carve). The
// library gives no other to his requests, so that no address, filter, statement or error can show more. The limit:
// nothing can be changed here, and a figure is as new as the published file.
package finance
