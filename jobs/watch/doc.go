// Package watch finds what people should be told of, and has it told: it asks the lake what the config's rules ask.
//
//	rules ─▶ facts: the published file, the raw archive, the journal   (no lock that a run needs)
//	      ─▶ findings ─▶ alert.Step ─▶ outbox, written down ─▶ receivers
//
// What is found is told at least once, while it goes on as often as the rule says, and once when it is over. A fact
// that can't be had makes nothing over; that it can't be had is told. Without a lake a daemon goes on by what it
// remembers.
package watch
