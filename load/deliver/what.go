package deliver

import (
	"fmt"
	"slices"
	"strings"
)

// What a delivery may hold.
const (
	WhatUsage      = "usage"      // the day files
	WhatQuarantine = "quarantine" // records that could not be normalised
	WhatBalance    = "balance"
	WhatFinance    = "finance"    // tables of the published file, a Parquet file each
	WhatStatements = "statements" // what closed months left
	WhatPublished  = "published"  // usage.duckdb, with what it must be
	// WhatRaw is the off-site copy: the raw archive and all that a lake can't be made of without. It holds the day files
	// and statements, too.
	WhatRaw = "raw"
)

// AllWhat lists them.
func AllWhat() []string {
	return []string{WhatUsage, WhatQuarantine, WhatBalance, WhatFinance, WhatStatements, WhatPublished, WhatRaw}
}

// DefaultWhat is what is delivered where nobody says.
func DefaultWhat() []string { return []string{WhatUsage} }

// CheckWhat refuses what can't be delivered.
func CheckWhat(what []string) error {
	for i, w := range what {
		switch {
		case !slices.Contains(AllWhat(), w):
			return fmt.Errorf("%q is none of %s", w, strings.Join(AllWhat(), ", "))
		case slices.Contains(what[:i], w):
			return fmt.Errorf("%s stands there twice", w)
		}
	}
	return nil
}

// trees of partitions, and other top names of the lake, that a delivery of what takes.
func treesOf(what []string) (partitioned, others []string) {
	has := func(ws ...string) bool {
		return slices.ContainsFunc(ws, func(w string) bool { return slices.Contains(what, w) })
	}
	for _, t := range []struct {
		tree string
		of   []string
	}{
		{"usage", []string{WhatUsage, WhatRaw}}, {"quarantine", []string{WhatQuarantine, WhatRaw}},
		{"balance", []string{WhatBalance, WhatRaw}}, {"raw", []string{WhatRaw}},
	} {
		if has(t.of...) {
			partitioned = append(partitioned, t.tree)
		}
	}
	for _, t := range []struct {
		name string
		of   []string
	}{
		{"statements", []string{WhatStatements, WhatRaw}}, {"journal", []string{WhatRaw}}, {"doubts", []string{WhatRaw}},
		{"damaged", []string{WhatRaw}}, {"lake.json", []string{WhatRaw}},
		{"usage.duckdb", []string{WhatPublished}}, {"published.json", []string{WhatPublished}},
	} {
		if has(t.of...) {
			others = append(others, t.name)
		}
	}
	return partitioned, others
}
