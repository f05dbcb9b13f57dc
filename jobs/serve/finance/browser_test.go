package finance

import (
	"bytes"
	"fmt"
	"image/png"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// chromium runs a real browser without a window. It is skipped where there is none, but not in CI.
func chromium(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no chromium, and CI is set")
		}
		t.Skip("no chromium")
	}
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(profile) }()
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--headless", "--no-sandbox", "--disable-gpu",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + profile}, args...)...)
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

// Each page fits the screen from a phone to a wide one, in the light and in the dark, and runs nothing. A page is
// measured by a script of the test's own, put into a copy of it: the policy of the site lets none run.
func TestABrowserShowsThePages(t *testing.T) {
	w := newWorld(t)
	w.viewers = nil
	server := httptest.NewServer(w.site)
	defer server.Close()
	for _, page := range []string{"", "chargeback", "chargeback?by=cost_center,team,token,model", "records", "statement",
		sqlPath("FROM chargeback_daily")} {
		body := w.get(page, "").Body.String()
		// What a browser has of the page, as it stands, with the script in the place of the policy.
		file := filepath.Join(t.TempDir(), "page.html")
		script := `<script>addEventListener("load", () => {
			const root = document.documentElement;
			const net = [...document.querySelectorAll("main th")].filter(h => h.textContent == "Net");
			document.title = "width " + innerWidth + " scroll " + root.scrollWidth + " net " +
				net.map(h => Math.ceil(h.getBoundingClientRect().right)).join(",");
		})</script></head>`
		if err := os.WriteFile(file, []byte(strings.Replace(body, "</head>", script, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int{390, 1280, 1920} {
			dom := string(chromium(t, "--dump-dom", fmt.Sprintf("--window-size=%d,1000", width), "file://"+file))
			m := regexp.MustCompile(`<title>width ([0-9]+) scroll ([0-9]+) net ([0-9,]*)</title>`).FindStringSubmatch(dom)
			if m == nil {
				t.Fatalf("%s: not measured", page)
			}
			if m[1] != m[2] {
				t.Errorf("%s: of %s pixels it takes %s", page, m[1], m[2])
			}
			for _, right := range strings.Split(m[3], ",") {
				var x int
				_, _ = fmt.Sscan(right, &x)
				if width == 1280 && x > width {
					t.Errorf("%s: Net ends at %d of %d", page, x, width)
				}
			}
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
