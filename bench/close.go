package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
)

// Callers so many that hardly two records of a day are summed or charged together, and the cost centres they are of.
const (
	manyTokens = 500
	manyUsers  = 5000
	centers    = 60
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
	if err := sealed(ctx, p, dir, closedFrom, to, true); err != nil {
		return err
	}
	n, _ = p.Total(org, closedFrom, to)
	out.V["records"] = float64(n)
	rules, err := writeCenters(dir+".config", centers)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir+".config", "usagelake.yaml"), fmt.Appendf(nil,
		"lake: %s\naccounts:\n  - name: %s\n    base_url: https://portal.test/management\n    key_env: KEY\n"+
			"allocation:\n  rules: %s\n", dir, account, rules), 0o600)
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
				return fmt.Appendf(nil, `"token_id":"tk-%03d"`, n/manyUsers%manyTokens)
			}
			return fmt.Appendf(nil, `"user_id":"user-%04d"`, n%manyUsers)
		}))
		page = rest[end:]
	}
}

// writeCenters writes the rules into a directory by which each user is of one of so many cost centres.
func writeCenters(dir string, centers int) (rules string, err error) {
	users := "user_id,cost_center,gl_code\n"
	for i := range manyUsers {
		users += fmt.Sprintf("user-%04d,CC-%04d,6%03d\n", i, i%centers, i%centers)
	}
	rules = filepath.Join(dir, "allocation.yaml")
	return rules, errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "users.csv"), []byte(users), 0o600),
		os.WriteFile(rules, []byte("version: 1\ntables:\n  users: {file: users.csv, key: user_id}\n"+
			"rules:\n  - id: by-user\n    lookup: [users]\n"), 0o600))
}

// closing closes a month of many records, and one of many cost centres.
func (b *bench) closing(s *section) error {
	t := s.table("month", "CPU s", "wall s", "peak memory", "MB written")
	for _, l := range []struct{ records, centers int }{{b.size.closed, centers}, {b.size.closed / 8, 600}} {
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
		if l.centers == centers {
			s.atMost("closing a month of many records, CPU µs a record", 60, r.CPU/made.V["records"]*1e6, "%.0f")
		} else {
			s.atMost("closing a month of 600 cost centres, seconds", 10, r.Wall, "%.1f")
		}
	}
	s.fact("Each month has %d tokens and %s users: hardly two records of a day are charged together.", manyTokens,
		thousands(manyUsers))
	return nil
}
