// Package serve shows a running scheduler to people and to machines, over HTTP and for reading only.
//
//	/             the status page, which needs no script
//	/status.json  the same for programs
//	/metrics      for Prometheus
//	/healthz      whether the scheduler turns
//	/readyz       whether the lake can be read, and what else is amiss
//
// What is shown is read off the lake's files and asked of the scheduler, each at most every so often and in the
// background: a request waits a moment for what is new and else gets what was read last, so none hangs on a large lake.
//
// It listens on loopback or a unix socket; anything else needs a token. The names and the state of accounts and jobs
// are all that can be learnt here: no keys, no records, and nothing can be changed.
package serve
