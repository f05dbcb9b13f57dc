// Package schedule runs the jobs of a config when they are due, one after the other: one lake has one writer.
//
//	calendar ─▶ the times of a job          the lake ─▶ up to which of them it is done
//	   ─▶ what is due, and the pause after a failure ─▶ jobs.RunJob ─▶ journal ─▶ look again
//
// It has no state of its own: a restart reads the same lake and comes to the same plan. A run stands for every time up
// to the one it is for, and what was done by hand counts. What another program did to the published file is mended
// between runs. Alerts and the status page are its caller's.
package schedule
