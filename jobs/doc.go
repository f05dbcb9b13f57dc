// Package jobs owns time and order: it composes the stages, and nothing else does.
//
//	Export     finish what is sealed but not derived · plan · fetch and seal · derive · publish
//	Rebuild    the same without the network: derive · publish
//	Balance    ask for the balance and keep it · derive · publish
//	Close      ask once more · objections · statements, for good
//	Prune      delete what retention allows of closed months
//	Status     what is covered, how fresh it is, what ran, what is missing
//	RunJob     whichever of these a job of the schedule is
//
// What is left to do is read off the lake's files, so every run starts by finishing what one before it left, and
// running twice is running once. Where a run ends early, what was sealed stays sealed. What asks this package stands
// beside it: schedule runs jobs when they are due, watch tells people what they should know, doctor looks at a set-up.
package jobs
