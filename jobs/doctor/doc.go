// Package doctor looks at a set-up as a whole and says of each thing whether it is right and, if not, what to do.
//
//	config ─▶ accounts, side by side ─▶ lake ─▶ freshness ─▶ schedule ─▶ machine ─▶ []Check
//
// It asks the API a handful of small questions per account and changes nothing but a probe file in the lake's
// directory, which it removes. No check holds a key. What it says is as of now: it holds no lock, and a run may be
// under way.
package doctor
