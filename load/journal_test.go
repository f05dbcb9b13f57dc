package load

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

func statuses(runs []schemas.Run) string {
	var out []string
	for _, r := range runs {
		out = append(out, r.RunID+"="+r.Status)
	}
	return strings.Join(out, " ")
}

// journal reads the live journal, and which of its lines can't be read.
func (l *Lake) journal() (runs []schemas.Run, bad []int, err error) {
	j, err := l.live(false)
	if err != nil {
		return nil, nil, err
	}
	defer j.close()
	for _, a := range j.bad {
		bad = append(bad, a.line)
	}
	runs, err = l.Runs()
	return runs, bad, err
}

func TestRunsTakeTheLastLineOfEachRun(t *testing.T) {
	l := newTestLake(t, Options{})
	if runs, err := l.Runs(); err != nil || len(runs) > 0 {
		t.Fatalf("no journal gives %v, %v", runs, err)
	}
	started := time.Date(2026, 11, 2, 0, 0, 0, 123456789, time.UTC)
	end := schemas.Run{RunID: "a", Command: "export", StartedAt: started, EndedAt: started.Add(time.Minute),
		Status: schemas.StatusPartial,
		Accounts: []schemas.RunAccount{{Account: "acme", Status: schemas.StatusPartial,
			Failed: []schemas.FailedWindow{{Start: started, End: started, Error: "x\ny"}}}}}
	for _, r := range []schemas.Run{
		{RunID: "a", Status: schemas.StatusRunning}, {RunID: "b", Status: schemas.StatusRunning}, end,
	} {
		must(t, l.AppendRun(r))
	}
	runs, err := l.Runs()
	must(t, err)
	if got := statuses(runs); got != "a=partial b=running" {
		t.Errorf("runs are %s", got)
	}
	if got := runs[0].Accounts[0].Failed[0].Error; got != "x\ny" || !runs[0].StartedAt.Equal(started) {
		t.Errorf("the run came back as %+v", runs[0])
	}
}

func TestJournalSurvivesWhatACrashLeaves(t *testing.T) {
	const line = `{"run_id":"a","status":"done"}` + "\n"
	tests := []struct {
		name    string
		content string
		before  string // what Runs says
		bad     []int
		after   string // after an append of run z
	}{
		{"empty", "", "", nil, "z=done"},
		{"torn at the start", `{"run_`, "", nil, "z=done"},
		{"torn at the end", line + `{"run_id":"b","status":"do`, "a=done", nil, "a=done z=done"},
		{"torn before the line feed", line + `{"run_id":"b","status":"done"}`, "a=done", nil, "a=done z=done"},
		{"long torn tail", line + strings.Repeat("x", 10_000), "a=done", nil, "a=done z=done"},
		{"zeros, as a file system may leave", line + "\x00\x00\x00", "a=done", nil, "a=done z=done"},
		{"a damaged line in between", line + "garbage\n" + `{"run_id":"b","status":"done"}` + "\n", "a=done b=done", []int{2},
			"a=done b=done z=done"},
		{"no run_id", `{"status":"done"}` + "\n" + line, "a=done", []int{1}, "a=done z=done"},
		{"a field of a later version", string(sumLine([]byte(`{"run_id":"a","status":"done","mood":"good"}`))) + "\n",
			"a=done", nil, "a=done z=done"},
		{"a field of no version", `{"run_id":"a","statur":"done"}` + "\n", "", []int{1}, "z=done"},
		{"a line with another checksum", `{"run_id":"a","status":"done","crc32c":"00000000"}` + "\n" + line, "a=done",
			[]int{1}, "a=done z=done"},
		{"two lines that lost their line feed", strings.TrimSpace(line) + line, "", []int{1}, "z=done"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			must(t, os.MkdirAll(l.Path(journalDir), durable.DirMode))
			must(t, os.WriteFile(l.journalPath(), []byte(tt.content), durable.FileMode))
			runs, bad, err := l.journal()
			must(t, err)
			if got := statuses(runs); got != tt.before || !slices.Equal(bad, tt.bad) {
				t.Errorf("before: %q, bad lines %v; want %q, %v", got, bad, tt.before, tt.bad)
			}
			must(t, l.AppendRun(schemas.Run{RunID: "z", Status: schemas.StatusDone}))
			runs, bad, err = l.journal()
			must(t, err)
			if got := statuses(runs); got != tt.after || !slices.Equal(bad, tt.bad) {
				t.Errorf("after: %q, bad lines %v; want %q, %v", got, bad, tt.after, tt.bad)
			}
		})
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"run_id":"a","status":"running"}` + "\n" + `{"run_id":"a","status":"done"}` + "\n"))
	f.Add([]byte("\n\n{}\n{\"run_id\""))
	f.Add(append(sumLine([]byte(`{"run_id":"a","status":"done","kept":true}`)), '\n'))
	read := func(t *testing.T, b []byte) (runs []schemas.Run, bad int) {
		j := &liveJournal{from: bytes.NewReader(b)}
		if err := j.index(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		bad = len(j.bad)
		for _, a := range j.runs {
			line, err := j.run(a)
			if err != nil {
				bad++
				continue
			}
			runs = append(runs, line.Run)
		}
		return runs, bad
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		runs, bad := read(t, b)
		if len(runs)+bad > bytes.Count(b, lineFeed) {
			t.Fatalf("%d runs and %d bad lines of %d", len(runs), bad, bytes.Count(b, lineFeed))
		}
		// What was read is written and read as the same.
		var again []byte
		for _, r := range runs {
			line, err := encodeLine(r, false)
			if err != nil {
				t.Skip("a time JSON can't write")
			}
			again = append(append(again, line...), '\n')
		}
		back, bad := read(t, again)
		if bad > 0 || statuses(back) != statuses(runs) {
			t.Fatalf("%q came back as %q, bad %d", statuses(runs), statuses(back), bad)
		}
	})
}
