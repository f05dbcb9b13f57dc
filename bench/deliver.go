package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/deliver"
)

// childDeliver delivers a lake to a URL, with a Delta table.
func childDeliver(ctx context.Context, args []string, out *answer) error {
	lake, err := load.Open(args[0], load.Options{})
	if err != nil {
		return err
	}
	b, err := bucket.Open(ctx, args[1], bucket.Options{})
	if err != nil {
		return err
	}
	r, err := deliver.Deliver(ctx, lake, deliver.Target{Name: "bench", Bucket: b, Delta: true},
		deliver.Options{Now: time.Now, Version: "bench"})
	if err != nil {
		return err
	}
	out.V["sent"], out.V["sent_bytes"], out.V["requests"] = float64(r.Sent), float64(r.SentBytes), float64(r.Requests)
	return nil
}

// delivering delivers a lake of many files to a directory: all of it, nothing, and one changed day. Beside it stands a
// plain copy of the same files, which checks nothing and is no state that a reader could rely on.
func (b *bench) delivering(s *section) error {
	source, _, err := b.generated(b.size.records[0], 30, false)
	if err != nil {
		return err
	}
	days, err := b.dayFiles(source)
	if err != nil {
		return err
	}
	dir := b.fresh("delivered")
	defer os.RemoveAll(dir)
	lake, place := filepath.Join(dir, "lake"), filepath.Join(dir, "bucket")
	small, err := smallest(days)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(small)
	if err != nil {
		return err
	}
	files, err := manyDays(lake, b.size.delivered, content)
	if err != nil {
		return err
	}
	t := s.table("", "files sent", "requests", "s", "CPU s", "peak memory", "bytes sent")
	row := func(name string) error {
		r, err := b.child("deliver", lake, "file://"+place)
		if err != nil {
			return err
		}
		t.row(name, fmt.Sprint(r.V["sent"]), fmt.Sprint(r.V["requests"]), fmt.Sprintf("%.2f", r.Wall),
			fmt.Sprintf("%.2f", r.CPU), mib(r.RSS), mib(r.V["sent_bytes"]))
		return nil
	}
	copied, err := b.process("cp", "-r", lake, filepath.Join(dir, "copy"))
	if err != nil {
		return err
	}
	if err := row(fmt.Sprintf("all of %d files", len(files))); err != nil {
		return err
	}
	t.row("the same files by `cp -r`", strconv.Itoa(len(files)), "", fmt.Sprintf("%.2f", copied.Wall),
		fmt.Sprintf("%.2f", copied.CPU), mib(copied.RSS), mib(float64(len(files)*len(content))))
	if err := row("nothing changed"); err != nil {
		return err
	}
	other, err := os.ReadFile(days[len(days)-1])
	if err != nil {
		return err
	}
	if err := os.WriteFile(files[len(files)/2], other, 0o600); err != nil {
		return err
	}
	return row("one changed day")
}

// dayFiles derives a generated lake, and returns its day files.
func (b *bench) dayFiles(lake string) ([]string, error) {
	if _, err := b.child("rebuild", lake, "derive"); err != nil {
		return nil, err
	}
	days, err := filepath.Glob(filepath.Join(lake, "usage", "*", "*", "usage.parquet"))
	if err != nil || len(days) < 2 {
		return nil, fmt.Errorf("the lake has %d day files: %w", len(days), err)
	}
	return days, nil
}

func smallest(files []string) (least string, err error) {
	size := int64(-1)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		if size < 0 || info.Size() < size {
			least, size = f, info.Size()
		}
	}
	return least, nil
}

// manyDays makes a lake of so many day files, a year of days for each account, and returns them.
func manyDays(lake string, n int, content []byte) ([]string, error) {
	var out []string
	first := time.Date(2025, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		dir := filepath.Join(lake, "usage", fmt.Sprintf("acct=org-%03d", i/365),
			"date="+first.AddDate(0, 0, i%365).Format(time.DateOnly))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		out = append(out, filepath.Join(dir, "usage.parquet"))
		if err := os.WriteFile(out[i], content, 0o600); err != nil {
			return nil, err
		}
	}
	marker, err := json.Marshal(map[string]int{"format": 3})
	if err != nil {
		return nil, err
	}
	return out, os.WriteFile(filepath.Join(lake, "lake.json"), marker, 0o600)
}
