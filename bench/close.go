package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/schemas"
)

// What the month that is closed has of each: so many that hardly two records of a day are charged together.
const (
	closedTokens = 500
	closedUsers  = 5000
)

// closedMonth is the month that is closed, as the flag has it.
const closedMonth = "2026-10"

var closedFrom = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

// childMonth makes the raw archive of a lake whose month has so many records by many tokens and users, and rules by
// which so many cost centres share them: records of the simulated Portal with other callers.
func childMonth(ctx context.Context, args []string, out *answer) error {
	dir, records, centers := args[0], atoi(args[1]), atoi(args[2])
	to := closedFrom.AddDate(0, 1, 0)
	now := func() time.Time { return clock }
	// The Portal is asked for so many in the days up to its clock, which come to more or fewer in the month.
	const days = 31
	p, err := newPortal(records, days, now, portal.Faults{})
	if err != nil {
		return err
	}
	n, _ := p.Total(org, closedFrom, to)
	if p, err = newPortal(records*records/max(n, 1), days, now, portal.Faults{}); err != nil {
		return err
	}
	err = sealed(ctx, p, dir, closedFrom, to, func(pages []schemas.Page) {
		for i := range pages {
			pages[i].Body = byCallers(pages[i].Body)
		}
	})
	if err != nil {
		return err
	}
	n, _ = p.Total(org, closedFrom, to)
	out.V["records"] = float64(n)
	return writeCenters(dir, centers)
}

var (
	recordID = regexp.MustCompile(`"id":"?([0-9]+)`)
	caller   = regexp.MustCompile(`"(token_id|user_id)":"[^"]*"`)
)

// byCallers gives each record of a page a token and a user by its id.
func byCallers(page []byte) []byte {
	var out bytes.Buffer
	for {
		at := recordID.FindSubmatchIndex(page)
		if at == nil {
			out.Write(page)
			return out.Bytes()
		}
		h := fnv.New64a()
		h.Write(page[at[2]:at[3]])
		n := h.Sum64() >> 16
		rest := page[at[1]:]
		end := len(rest)
		if next := recordID.FindIndex(rest); next != nil {
			end = next[0]
		}
		out.Write(page[:at[1]])
		out.Write(caller.ReplaceAllFunc(rest[:end], func(m []byte) []byte {
			if bytes.HasPrefix(m, []byte(`"token_id"`)) {
				return fmt.Appendf(nil, `"token_id":"tk-%03d"`, n/closedUsers%closedTokens)
			}
			return fmt.Appendf(nil, `"user_id":"user-%04d"`, n%closedUsers)
		}))
		page = rest[end:]
	}
}

// writeCenters writes the config of a lake, and the rules by which each user is of one of so many cost centres.
func writeCenters(lake string, centers int) error {
	users := "user_id,cost_center,gl_code\n"
	for i := range closedUsers {
		users += fmt.Sprintf("user-%04d,CC-%04d,6%03d\n", i, i%centers, i%centers)
	}
	dir := lake + ".config"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"users.csv": users,
		"allocation.yaml": "version: 1\ntables:\n  users: {file: users.csv, key: user_id}\n" +
			"rules:\n  - id: by-user\n    lookup: [users]\n",
		"usagelake.yaml": fmt.Sprintf("lake: %s\naccounts:\n  - name: %s\n    base_url: https://portal.test/management\n    key_env: KEY\n"+
			"allocation:\n  rules: %s\n", lake, account, filepath.Join(dir, "allocation.yaml")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// closing closes a month of many records, and one of many cost centres.
func (b *bench) closing(s *section) error {
	t := s.table("month", "CPU s", "wall s", "peak memory", "MB written")
	for _, l := range []struct{ records, centers int }{{b.size.closed, 60}, {b.size.closed / 8, 600}} {
		lake := filepath.Join(b.dir, fmt.Sprintf("lake-month-%d-%d", l.records, l.centers))
		config := filepath.Join(lake+".config", "usagelake.yaml")
		b.say("generate a month of %s records", thousands(float64(l.records)))
		if err := os.RemoveAll(lake); err != nil {
			return err
		}
		made, err := b.child("month", lake, strconv.Itoa(l.records), strconv.Itoa(l.centers))
		if err != nil {
			return err
		}
		if _, err := b.process(b.usagelake, "rebuild", "--quiet", "--config", config); err != nil {
			return err
		}
		b.say("close it, %d cost centres", l.centers)
		name := fmt.Sprintf("%s records, %d cost centres", thousands(made.V["records"]), l.centers)
		r, err := b.process(b.usagelake, "close", "--quiet", "--config", config, "--month", closedMonth, "--no-fetch",
			"--reason", "measured")
		if err != nil {
			return err
		}
		t.row(name, fmt.Sprintf("%.1f", r.CPU), fmt.Sprintf("%.1f", r.Wall), mib(r.RSS), fmt.Sprintf("%.0f", r.Written/1e6))
		if l.centers == 60 {
			s.atMost("closing a month of many records, CPU µs a record", 60, r.CPU/made.V["records"]*1e6, "%.0f")
		} else {
			s.atMost("closing a month of 600 cost centres, seconds", 10, r.Wall, "%.1f")
		}
	}
	s.fact("Each month has %d tokens and %s users: hardly two records of a day are charged together.", closedTokens,
		thousands(closedUsers))
	return nil
}
