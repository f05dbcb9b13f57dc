package finance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browser is a real one, driven as a person drives it: it clicks where a thing is painted and types what a keyboard
// types. It speaks the protocol of Chromium's developer tools over two pipes.
type browser struct {
	t         *testing.T
	to        *os.File
	messages  chan message
	id        int
	session   string
	downloads string
	complains []string // its console
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// browse opens an address in a window of its own.
func browse(t *testing.T, address string) *browser {
	t.Helper()
	fromUs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, toUs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, to: to, messages: make(chan message, 1000), downloads: t.TempDir()}
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromiumPath(t), chromiumArgs(profile, "--remote-debugging-pipe", "--window-size=1280,1000")...)
	cmd.ExtraFiles = []*os.File{fromUs, toUs} // its descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = fromUs.Close(), toUs.Close()
	t.Cleanup(func() {
		_ = to.Close() // it ends by that, with its children
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		_ = from.Close()
		_ = os.RemoveAll(profile)
	})
	go func() {
		defer close(b.messages)
		for r := bufio.NewReader(from); ; {
			line, err := r.ReadBytes(0)
			if err != nil {
				return
			}
			var m message
			if json.Unmarshal(line[:len(line)-1], &m) == nil {
				b.messages <- m
			}
		}
	}()
	var target struct {
		ID string `json:"targetId"`
	}
	b.ask("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		ID string `json:"sessionId"`
	}
	b.ask("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	b.ask("Browser.setDownloadBehavior", map[string]any{"behavior": "allow", "downloadPath": b.downloads,
		"eventsEnabled": true}, nil)
	b.session = attached.ID
	b.ask("Page.enable", nil, nil)
	b.ask("Log.enable", nil, nil)
	b.ask("Page.navigate", map[string]any{"url": address}, nil)
	b.wait("Page.loadEventFired")
	return b
}

// ask sends a command and takes its answer.
func (b *browser) ask(method string, params map[string]any, out any) {
	b.t.Helper()
	b.id++
	command := map[string]any{"id": b.id, "method": method}
	if params != nil {
		command["params"] = params
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	line, err := json.Marshal(command)
	if err == nil {
		_, err = b.to.Write(append(line, 0))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	id := b.id
	m := b.until(method, func(m message) bool { return m.ID == id })
	if m.Error != nil {
		b.t.Fatalf("%s: %s", method, m.Error.Message)
	}
	if out != nil {
		if err := json.Unmarshal(m.Result, out); err != nil {
			b.t.Fatal(err)
		}
	}
}

// wait waits for an event.
func (b *browser) wait(method string) message {
	b.t.Helper()
	return b.until(method, func(m message) bool { return m.Method == method })
}

func (b *browser) until(what string, is func(message) bool) message {
	b.t.Helper()
	for m := range b.messages {
		if m.Method == "Log.entryAdded" {
			b.complains = append(b.complains, string(m.Params))
		}
		if is(m) {
			return m
		}
	}
	b.t.Fatalf("the browser ended before %s", what)
	return message{}
}

// js asks what is on the page; it changes nothing.
func (b *browser) js(expression string) string {
	b.t.Helper()
	var out struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception any `json:"exceptionDetails"`
	}
	b.ask("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &out)
	if out.Exception != nil {
		b.t.Fatalf("%s: %v", expression, out.Exception)
	}
	if out.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(out.Result.Value)
}

// press clicks on the first thing that a selector and a text name, where it is painted.
func (b *browser) press(selector, text string) {
	b.t.Helper()
	at := b.js(fmt.Sprintf(`(() => {
		const e = [...document.querySelectorAll(%[1]q)].find(e => e.checkVisibility() &&
			(%[2]q == "" || e.textContent.trim() == %[2]q));
		if (!e) return "";
		e.scrollIntoView({block: "center", inline: "center"});
		const r = e.getClientRects()[0];
		const x = r.x + r.width / 2, y = r.y + r.height / 2;
		const top = document.elementFromPoint(x, y);
		return top && (e.contains(top) || top.contains(e)) ? x + " " + y : "";
	})()`, selector, text))
	var x, y float64
	if _, err := fmt.Sscan(at, &x, &y); err != nil {
		b.t.Fatalf("nobody can click on %s %q of %s", selector, text, b.js("location.href"))
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.ask("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
			nil)
	}
}

// click is press on what leads to another page.
func (b *browser) click(selector, text string) {
	b.t.Helper()
	b.press(selector, text)
	b.wait("Page.loadEventFired")
}

// choose chooses an option of a field of the form by the keyboard.
func (b *browser) choose(name, option string) {
	b.t.Helper()
	b.js(fmt.Sprintf(`document.querySelector("[name=%s]").focus()`, name))
	for _, c := range option {
		b.ask("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "text": string(c), "key": string(c)}, nil)
		b.ask("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": string(c)}, nil)
	}
	if got := b.js(fmt.Sprintf(`document.querySelector("[name=%s]").value`, name)); got != option {
		b.t.Fatalf("%s is %q, not %q", name, got, option)
	}
}

// write writes into a field.
func (b *browser) write(selector, text string) {
	b.t.Helper()
	b.press(selector, "")
	b.ask("Input.insertText", map[string]any{"text": text}, nil)
}

// download clicks on what is a file, and gives its name and what is in it.
func (b *browser) download(selector, text string) (string, []byte) {
	b.t.Helper()
	session := b.session
	b.press(selector, text)
	var begun struct {
		Name string `json:"suggestedFilename"`
	}
	if err := json.Unmarshal(b.wait("Browser.downloadWillBegin").Params, &begun); err != nil {
		b.t.Fatal(err)
	}
	b.until("the download", func(m message) bool {
		return m.Method == "Browser.downloadProgress" && strings.Contains(string(m.Params), `"completed"`)
	})
	b.session = session
	content, err := os.ReadFile(filepath.Join(b.downloads, begun.Name))
	if err != nil {
		b.t.Fatal(err)
	}
	return begun.Name, content
}

// cell is that of a column in the first row that has a text in a cell, or behind the name that it is called by; the
// tables of pictures are left out.
func (b *browser) cell(row, column string) string {
	b.t.Helper()
	return b.js(fmt.Sprintf(`(() => {
		const is = c => c.textContent.trim() == %[1]q || c.textContent.trim().endsWith(" " + %[1]q);
		const r = [...document.querySelectorAll("main section:not(.picture) tr")].find(r =>
			[...r.cells].some(is) && [...r.cells].some(c => c.dataset.t == %[2]q));
		const c = r && [...r.cells].find(c => c.dataset.t == %[2]q);
		return c ? c.textContent.trim() : "";
	})()`, row, column))
}

// heading is that of the page.
func (b *browser) heading() string { return b.js(`document.querySelector("h1").textContent`) }
