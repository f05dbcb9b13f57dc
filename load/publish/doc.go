// Package publish makes the one file that finance and BI query: usage.duckdb, with every record, what it is charged to,
// and the views that answer questions.
//
//	Publish     the lake's day files, balances and journal, and Finance ─▶ usage.duckdb, one rename
//	CloseMonth  what was charged in a month, with its statements ─▶ statements/…, for good; later corrections are charged
//	in open months
//	Verify      the whole lake, and the published file, held against each other
//	Intrusion   whether another program wrote into the published file; readers open it through OpenPublishedFile alone
//
// The guarantee: whoever has the file open keeps what he opened; who opens it sees one whole publish, and after each
// publish the file is what a build from nothing would make of the same lake. Days that didn't change aren't read.
//
// The limit: this package links DuckDB, and so needs cgo; the lake beneath it (package load) doesn't. Another
// publisher, to a bucket or to tables, stands beside this one and not in it.
package publish
