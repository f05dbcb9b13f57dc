package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/deliver"
)

// sparse is a bucket that keeps what says where the data is, and not the data: a lake of a thousand accounts fits.
type sparse struct{ bucket.Bucket }

func (s sparse) Put(ctx context.Context, key string, body bucket.Body, on bucket.On) (bucket.Tag, error) {
	if strings.HasPrefix(key, "data/") {
		return bucket.Tag(hex.EncodeToString(body.SHA256[:])), nil
	}
	return s.Bucket.Put(ctx, key, body, on)
}

// childScale delivers a lake to a directory that keeps no data files.
func childScale(ctx context.Context, args []string, out *answer) error {
	lake, err := load.Open(args[0], load.Options{})
	if err != nil {
		return err
	}
	b, err := bucket.Open(ctx, "file://"+args[1], bucket.Options{})
	if err != nil {
		return err
	}
	r, err := deliver.Deliver(ctx, lake, deliver.Target{Name: "scale", Bucket: sparse{b}, Delta: true},
		deliver.Options{Now: time.Now, Version: "bench"})
	if err != nil {
		return err
	}
	out.V["sent"], out.V["requests"] = float64(r.Sent), float64(r.Requests)
	return nil
}

// scaling delivers a year of many accounts: what a first delivery, a night and a night without news ask for and write
// besides the data.
func (b *bench) scaling(s *section) error {
	source, _, err := b.generated(3_000, 30, false) // a day file of a hundred records
	if err != nil {
		return err
	}
	days, err := b.dayFiles(source)
	if err != nil {
		return err
	}
	one, other := days[0], days[1]
	dir := b.fresh("scale")
	defer os.RemoveAll(dir)
	lake, place := filepath.Join(dir, "lake"), filepath.Join(dir, "bucket")
	accounts := max(1, b.size.delivered/100)
	content, err := os.ReadFile(one)
	if err != nil {
		return err
	}
	b.say("a lake of %d accounts and %d days", accounts, accounts*365)
	files, err := manyDays(lake, accounts*365, content)
	if err != nil {
		return err
	}
	t := s.table("", "files sent", "requests", "s", "CPU s", "peak memory", "manifest", "its parts", "Delta log")
	row := func(name string) error {
		r, err := b.child("scale", lake, place)
		if err != nil {
			return err
		}
		manifest, err := sizeBelow(filepath.Join(place, "manifest.json"))
		if err != nil {
			return err
		}
		parts, err := sizeBelow(filepath.Join(place, "parts"))
		if errors.Is(err, fs.ErrNotExist) { // a small lake's manifest is in one piece
			err = nil
		}
		if err != nil {
			return err
		}
		log, err := sizeBelow(filepath.Join(place, "_delta_log"))
		if err != nil {
			return err
		}
		t.row(name, fmt.Sprint(r.V["sent"]), fmt.Sprint(r.V["requests"]), fmt.Sprintf("%.1f", r.Wall),
			fmt.Sprintf("%.1f", r.CPU), mib(r.RSS), kib(manifest), kib(parts), kib(log))
		return nil
	}
	if err := row("all of it"); err != nil {
		return err
	}
	if err := row("nothing changed"); err != nil {
		return err
	}
	if content, err = os.ReadFile(other); err != nil {
		return err
	}
	for i, f := range files {
		if i%365 >= 362 {
			if err := os.WriteFile(f, content, 0o600); err != nil {
				return err
			}
		}
	}
	if err := row("a night: the last three days of each account"); err != nil {
		return err
	}
	s.fact("%s accounts with a file for each of 365 days, %s in all. The data files themselves are hashed, and not kept.",
		thousands(float64(accounts)), thousands(float64(len(files))))
	return nil
}

func kib(bytes float64) string { return strconv.Itoa(int(bytes)>>10) + " KiB" }

// sizeBelow is what a file, or the files below a directory, measure together.
func sizeBelow(name string) (sum float64, err error) {
	err = filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += float64(info.Size())
		}
		return err
	})
	return sum, err
}
