package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The worked months of these pages are the demo's: each command there gives what stands below it, to the last digit.
func TestTheWorkedMonthsOfTheDocsAreTheDemos(t *testing.T) {
	all := pages(t)
	command := demo(t)
	for _, name := range []string{"docs/packages.md", "docs/books.md"} { // the last opens the month again
		worked(t, all[slices.IndexFunc(all, func(p page) bool { return p.name == name })], command)
	}
}

// worked runs the commands of a page on the demo's lake.
func worked(t *testing.T, page page, command func(string, ...string) (int, string)) {
	t.Helper()
	const set = "usagelake-demo/config/usagelake.yaml"
	tidy := func(text string) string {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return strings.Join(lines, "\n")
	}
	ran := 0
	for _, b := range page.blocks {
		if b.kind != "sh" {
			continue
		}
		for line := range strings.SplitSeq(strings.TrimSpace(b.text), "\n") {
			if !strings.HasPrefix(line, "usagelake ") { // what is written into the config
				if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
					t.Fatalf("%s: %s: %v: %s", b.at(page), line, err, out)
				}
				continue
			}
			code, out := command("", append(shellWords(t, line)[1:], "--config", set)...)
			if code != exitDone {
				t.Fatalf("%s: %s: exit %d: %s", b.at(page), line, code, out)
			}
			if b.output == "" {
				continue
			}
			ran++
			if got := tidy(out); got != tidy(b.output) {
				t.Errorf("%s: %s:\n%s", b.at(page), line, got)
			}
		}
	}
	if ran < 3 {
		t.Errorf("%s: %d answers were compared", page.name, ran)
	}
}

// shellWords are those of a command line, with quotes as a shell has them.
func shellWords(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	var word strings.Builder
	quoted, escaped := false, false
	for _, r := range line + " " {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			out = append(out, word.String())
			word.Reset()
		default:
			word.WriteRune(r)
		}
	}
	return out
}
