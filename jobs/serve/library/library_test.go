package library

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
	"github.com/usagelake/usagelake/load/query"
)

// A request that began before a publish ends on the file of before. Who sees nothing is given none.
func TestAPublishWaitsForNobody(t *testing.T) {
	w := librarytest.New(t)
	l := New(w.Open, nil)
	t.Cleanup(l.Close)
	if r, err := l.Reader(t.Context(), Sight{}); err == nil {
		r.Close()
		t.Error("who sees nothing is given a file")
	}
	search := Sight{Scope: librarytest.Search}
	r, err := l.Reader(t.Context(), search)
	if err != nil {
		t.Fatal(err)
	}
	aFileIsReadOnceForItsDigest(t, r)
	w.PublishMore()
	next, err := l.Reader(t.Context(), search)
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
	rows, err := query.Run(t.Context(), r.Lake, "SELECT count(*) FROM usage")
	if err != nil {
		t.Fatalf("the file of before: %v", err)
	}
	for row := range rows.All(t.Context()) {
		if row[0].Text != "6" {
			t.Errorf("%s records", row[0].Text)
		}
	}
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	// A statement of people's own is stopped.
	l.limit = 50 * time.Millisecond
	_, _, err = r.Answer(t.Context(), "SELECT sum(a.range * b.range % 7) FROM range(10000000) a, range(10000000) b", 1)
	if said := SQLMistake(err); !strings.Contains(said, "It was stopped after 20s") {
		t.Errorf("a statement without end: %v, said %q", err, said)
	}
	r.Close()
	if _, err := os.Stat(r.Lake.Dir()); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}

// A file that is asked for part by part is read for its digest once, and again when it is another.
func aFileIsReadOnceForItsDigest(t *testing.T, r *Reader) {
	path, then := filepath.Join(t.TempDir(), "statement.csv"), librarytest.Noon
	write := func(text string, at time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte("as it was"))
	f := Handed{Name: "statement.csv", path: path, SHA256: hex.EncodeToString(sum[:])}
	is := func(f Handed, want string, wrong error) {
		t.Helper()
		file, err := r.Handout().Open(t.Context(), f)
		if !errors.Is(err, wrong) || wrong != nil && err == nil {
			t.Fatalf("%v, want %v", err, wrong)
		}
		if err != nil {
			return
		}
		text, err := io.ReadAll(file)
		if err = errors.Join(err, file.Close()); err != nil || string(text) != want {
			t.Errorf("%q, want %q: %v", text, want, err)
		}
	}
	write("as it was", then)
	is(f, "as it was", nil)
	write("unnoticed", then) // of the same size and time: it isn't read for it
	is(f, "unnoticed", nil)
	write("unnoticed", then.Add(time.Second))
	is(f, "", ErrChanged)
	write("as it was", then.Add(time.Second))
	is(f, "as it was", nil)
	f.SHA256 = ""
	write("a signature", then)
	is(f, "a signature", nil)
}

// The twenty are those of the docs.
func TestTheQuestionsAreThoseOfTheDocs(t *testing.T) {
	b, err := os.ReadFile("../../../docs/questions.md")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile("(?m)^[0-9]+\\. \\[(.*)\\]\\(.*\\) `(.*)`$").FindAllStringSubmatch(string(b), -1)
	if len(all) != len(Questions) {
		t.Fatalf("%d questions", len(all))
	}
	for i, m := range all {
		if Questions[i] != (Question{m[1], m[2]}) {
			t.Errorf("%d: %+v, the docs have %q", i+1, Questions[i], m[1:])
		}
	}
}

// What says another thing a moment later isn't kept until the next publish.
func TestWhatPassesIsNotKept(t *testing.T) {
	for statement, kept := range map[string]bool{
		"SELECT sum(amount) FROM usage": true, "FROM usage WHERE model = 'nowhere'": true,
		"SELECT usage_date FROM usage": true, "SELECT CURRENT_DATE": false, "SELECT random()": false,
		"FROM usage WHERE request_time > now() - INTERVAL 1 DAY": false,
		"FROM usage USING SAMPLE 10":                             false, "SELECT today()": false,
		"SELECT get_current_timestamp()": false,
	} {
		if got := Passing(statement, 7); kept != (got == 7) || !kept && got >= 0 {
			t.Errorf("%s: %d", statement, got)
		}
	}
}
