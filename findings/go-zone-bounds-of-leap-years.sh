#!/usr/bin/env bash
# Go 1.26.8's time.Time.ZoneBounds says when the zone that is in force at a time began and ends. Of 31 December of a leap year that comes after the last
# change that the time zone database lists (2037), in a zone whose clocks are changed, it says that the zone ended at the beginning of that day: before the time that was
# asked about. The year is taken for 365 days. Who steps from each end to the next to go through a zone's changes stands still there for ever. Of 2038, which has
# 365 days, the end is the last midnight of the year, which is no change of the clocks either, but not before the time.
# Seen: the ends that ZoneBounds gives for three zones in 2038, 2040 and 2044. Exit status 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
export GOPATH="$work/go" GOTOOLCHAIN=go1.26.8
cat > go.mod <<'MOD'
module bounds

go 1.26
MOD
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
	_ "time/tzdata"
)

func main() {
	fmt.Println(runtime.Version())
	as := true
	for _, name := range []string{"America/New_York", "Europe/Berlin", "Australia/Sydney"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			panic(err)
		}
		for _, year := range []int{2038, 2040, 2044} {
			at := time.Date(year, time.December, 31, 23, 0, 0, 0, time.UTC)
			_, end := at.In(zone).ZoneBounds()
			fmt.Printf("%s at %s: ends %s, before it: %v\n", name, at.Format(time.RFC3339), end.UTC().Format(time.RFC3339), end.Before(at))
			as = as && end.Before(at) == (year%4 == 0)
		}
	}
	if !as {
		fmt.Println("no longer so")
		os.Exit(1)
	}
}
GO
go run .
