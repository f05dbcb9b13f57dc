package serve

import (
	"bytes"
	"context"
	"fmt"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// chromium runs a real browser without a window. It is skipped where there is none, but not in CI.
func chromium(t *testing.T, args ...string) []byte {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("no chromium, and CI is set")
		}
		t.Skip("no chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(profile) }()
	cmd := exec.CommandContext(ctx, path,
		append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
			"--disable-component-update",
			"--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr",
			"--user-data-dir=" + profile}, args...)...)
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

// serving serves w on loopback and returns the address.
func serving(t *testing.T, w *world) string {
	t.Helper()
	l, err := Listen("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.server().Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("http://%s/", l.Addr())
}

func TestABrowserShowsThePageWithItsStyleAndRunsNothing(t *testing.T) {
	dom := string(chromium(t, "--dump-dom", serving(t, busy())))
	for _, want := range []string{"things need attention", "Type <code>usagelake doctor --account beta-labs</code>",
		"<h3>acme</h3>", "weekly-verify", "&lt;script&gt;alert(1)"} {
		if !strings.Contains(dom, want) {
			t.Errorf("the browser doesn't have %q", want)
		}
	}
	if n := len(regexp.MustCompile(`<g><title>`).FindAllString(dom, -1)); n < 365+40 {
		t.Errorf("the browser has %d days", n)
	}
	if strings.Contains(dom, "<script") {
		t.Error("a text from outside became a script")
	}
}

func TestABrowserPaintsThePage(t *testing.T) {
	keep := os.Getenv("SCREENSHOTS") // a directory, for people who want to look
	url := serving(t, busy())
	for name, c := range map[string]struct {
		paper color.RGBA
		args  []string
	}{
		"wide":   {color.RGBA{255, 255, 255, 255}, []string{"--window-size=1280,2400"}},
		"narrow": {color.RGBA{255, 255, 255, 255}, []string{"--window-size=390,3400"}},
		"dark": {color.RGBA{0x14, 0x19, 0x1f, 255}, []string{"--window-size=1280,2400",
			"--blink-settings=preferredColorScheme=0"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := keep
			if dir == "" {
				dir = t.TempDir()
			}
			path := filepath.Join(dir, name+".png")
			chromium(t, append(c.args, "--screenshot="+path, url)...)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			picture, err := png.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			// The style applies: the paper has its colour, and the squares of covered days theirs.
			if got := color.RGBAModel.Convert(picture.At(2, 2)); got != c.paper {
				t.Errorf("the paper is %v", got)
			}
			blue := color.RGBA{0x00, 0x72, 0xb2, 255}
			if name == "dark" {
				blue = color.RGBA{0x56, 0xb4, 0xe9, 255}
			}
			found := 0
			for y := range picture.Bounds().Dy() {
				for x := range picture.Bounds().Dx() {
					if color.RGBAModel.Convert(picture.At(x, y)) == blue {
						found++
					}
				}
			}
			if found < 20*cellSize*cellSize {
				t.Errorf("%d pixels of covered days", found)
			}
		})
	}
}

func TestTheBrowsersRefreshAsksAgain(t *testing.T) {
	res, err := http.Get(serving(t, well()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil ||
		!strings.Contains(b.String(), `<meta http-equiv="refresh" content="60">`) {
		t.Error(err)
	}
}
