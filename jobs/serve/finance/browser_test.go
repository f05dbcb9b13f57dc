package finance

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load/report"
)

// chromiumPath is where the browser is. A test is skipped where there is none, but not in CI.
func chromiumPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no chromium, and CI is set")
		}
		t.Skip("no chromium")
	}
	return path
}

func chromiumArgs(profile string, args ...string) []string {
	return append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + profile}, args...)
}

// chromium runs a real browser without a window.
func chromium(t *testing.T, args ...string) []byte {
	t.Helper()
	path := chromiumPath(t)
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(profile) }()
	cmd := exec.CommandContext(t.Context(), path, chromiumArgs(profile, args...)...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, log.String())
	}
	for line := range strings.Lines(log.String()) { // what a page may not do stands on its console
		if strings.Contains(line, "CONSOLE") {
			t.Errorf("the browser complains: %s", line)
		}
	}
	return out.Bytes()
}

// Each page fits the screen from a phone to a wide one, in the light and in the dark, and runs nothing. Copies of the
// pages stand in frames of these widths, each measured by a script of the test's own: the policy of the site lets none
// run.
func TestABrowserShowsThePages(t *testing.T) {
	w := newWorld(t)
	w.viewers = nil
	w.closeOctober()
	w.site.opts.Compare = func() []Comparison {
		return []Comparison{{Of: OfPrices, Digest: func() (string, error) { return "1", nil },
			Make: func(context.Context) (*Changes, error) {
				return &Changes{File: "new.csv", Findings: []string{"a cost centre of " + strings.Repeat("long", 30)},
					Months:   []ChangedMonth{{"2026-11", []ChangedCenter{{"cc-6", "USD", "10.125", "12", "1.875"}}}},
					Unpriced: []Unpriced{{"model-of-a-long-name-2026-11-01", "input", "USD", "12", "1.5", "no row names it"}}}, nil
			}}}
	}
	server := httptest.NewServer(w.site)
	defer server.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pages := []string{"", "chargeback?by=cost_center,team,token,model", "records", "questions", "compare-prices",
		"closed?period=2026-10", sqlPath("FROM chargeback_daily"), sqlPath("FROM nowhere"), "no-such-page"}
	for _, r := range report.Reports() {
		pages = append(pages, r.Name)
	}
	widths := []int{390, 1280, 1920}
	var frames strings.Builder
	for i, page := range pages {
		name := fmt.Sprintf("%d.html", i)
		write(name, strings.Replace(w.get(page, "").Body.String(), "</head>", `<script>addEventListener("load", () => {
			const net = [...document.querySelectorAll("main th")].filter(h => h.textContent == "Net");
			parent.postMessage(location.hash.slice(1) + " " + innerWidth + " " + document.documentElement.scrollWidth + " " +
				Math.ceil(Math.max(0, ...net.map(h => h.getBoundingClientRect().right))), "*");
		})</script></head>`, 1))
		for _, width := range widths {
			fmt.Fprintf(&frames, `<iframe width="%d" height="900" style="border:0" src="%s#%d"></iframe>`, width, name, i)
		}
	}
	all := write("all.html", `<ul></ul><script>addEventListener("message", e => {
		const li = document.createElement("li"); li.textContent = e.data; document.querySelector("ul").append(li);
	})</script>`+frames.String())
	dom := string(chromium(t, "--dump-dom", "--window-size=2000,1000", "--virtual-time-budget=20000", "file://"+all))
	measured := regexp.MustCompile(`<li>([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+)</li>`).FindAllStringSubmatch(dom, -1)
	if len(measured) != len(pages)*len(widths) {
		t.Fatalf("%d frames are measured: %v", len(measured), measured)
	}
	for _, m := range measured {
		var page, width, scroll, net int
		if _, err := fmt.Sscan(strings.Join(m[1:], " "), &page, &width, &scroll, &net); err != nil {
			t.Fatal(err)
		}
		if scroll > width {
			t.Errorf("%s: of %d pixels it takes %d", pages[page], width, scroll)
		}
		if width >= 1280 && net > width {
			t.Errorf("%s: Net ends at %d of %d", pages[page], net, width)
		}
	}
	keep := os.Getenv("SCREENSHOTS") // a directory, for people who want to look
	for name, args := range map[string][]string{"light": {"--window-size=1280,2200"},
		"dark":   {"--window-size=1280,2200", "--blink-settings=preferredColorScheme=0"},
		"narrow": {"--window-size=390,3400"}} {
		dir := keep
		if dir == "" {
			dir = t.TempDir()
		}
		path := filepath.Join(dir, "finance-"+name+".png")
		chromium(t, append(args, "--screenshot="+path, server.URL+Root+"chargeback")...)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r, _, _, _ := picture.At(2, 2).RGBA()
		if dark := name == "dark"; (r < 0x8000) != dark { // the style applies
			t.Errorf("%s: the paper is %v", name, picture.At(2, 2))
		}
	}
}
