#!/usr/bin/env bash
# arrow-go 18.8.0 reads JSON (array.RecordFromJSON) through goccy/go-json 0.10.6, whose decoder of a stream moves all that is left of its buffer by one
# byte for each escaped character: an array that holds texts with quotes in them takes time by the square of its length. A thousand rows, each with a text
# as a table's statistics are, of some twenty quotes, take milliseconds; sixteen times as many take seconds, some thousand times as long. The same texts
# without quotes take sixteen times as long, and so do those with quotes in small batches.
# Seen: CPU time of 1,000 and 16,000 rows, with quotes and without. Exit status 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
export GOPATH="$work/go" GOFLAGS=-mod=mod
cat > go.mod <<'MOD'
module quotes

go 1.25.0

require github.com/apache/arrow-go/v18 v18.8.0
MOD
cat > main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// read reads n rows of one text, and tells the least CPU time of three.
func read(n int, text string) time.Duration {
	rows := make([]map[string]string, n)
	for i := range rows {
		rows[i] = map[string]string{"stats": text}
	}
	content, err := json.Marshal(rows)
	if err != nil {
		panic(err)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "stats", Type: arrow.BinaryTypes.String}}, nil)
	least := time.Hour
	for range 3 {
		start := cpu()
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(string(content)))
		if err != nil || batch.NumRows() != int64(n) || batch.Column(0).(*array.String).Value(n-1) != text {
			panic(fmt.Sprint("read: ", err))
		}
		batch.Release()
		least = min(least, cpu()-start)
	}
	return least
}

func main() {
	quoted := `{"numRecords":100,"minValues":{"account":"acme","day":"2026-10-30"},"maxValues":{"account":"acme","day":"2026-10-30"}}`
	plain := strings.ReplaceAll(quoted, `"`, "'")
	few, many := read(1_000, quoted), read(16_000, quoted)
	fewPlain, manyPlain := read(1_000, plain), read(16_000, plain)
	fmt.Printf("with quotes: %v and %v, %.0f times; without: %v and %v, %.0f times\n", few, many, float64(many)/float64(few), fewPlain,
		manyPlain, float64(manyPlain)/float64(fewPlain))
	if many < 64*few || many < 20*manyPlain {
		fmt.Println("no longer so")
		os.Exit(1)
	}
}
GO
go run .
go list -m github.com/apache/arrow-go/v18 github.com/goccy/go-json
