// Package pagetest looks at a page in a real browser, for tests: Debian's chromium
// without a window, asked through its debugging pipe. A test that needs it skips where
// it is not installed.
package pagetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// View is a way of looking at a page.
type View struct {
	Width, Height int
	Dark          bool
	Print         bool // as it is printed
}

// Views are wide and narrow, light and dark, and on paper: A4 between usual margins.
func Views() []View {
	return []View{{Width: 1200, Height: 900}, {Width: 1200, Height: 900, Dark: true}, {Width: 390, Height: 800}, {Width: 390, Height: 800, Dark: true},
		{Width: 718, Height: 1045, Print: true}}
}

// Seen is what the browser made of a page.
type Seen struct {
	// Problems are errors of the console, exceptions and what the content policy stopped.
	Problems []string
	// Requests are the addresses asked for besides the page itself and data in it.
	Requests []string
	// Boxes are the figures: charts, pictures, tables.
	Boxes []Box
	// Overflow is by how many pixels the page is wider than the window.
	Overflow int
	// Background and Ink are the colours of the page, as CSS has them.
	Background, Ink string
	// Faint are texts with a contrast below 3 to 1 against the page.
	Faint []string
}

// Box is the place of an element.
type Box struct {
	Element string  `json:"element"`
	Width   float64 `json:"width"`
	Height  float64 `json:"height"`
	Loaded  bool    `json:"loaded"` // of a picture
}

// Check looks at the file in every view and reports what is wrong with it: problems,
// requests, figures that cannot be seen, a page wider than the window.
func Check(t *testing.T, path string) {
	t.Helper()
	b := Open(t)
	backgrounds := map[bool]string{}
	for _, v := range Views() {
		s := b.See(t, path, v)
		for _, p := range s.Problems {
			t.Errorf("%+v: %s", v, p)
		}
		for _, r := range s.Requests {
			t.Errorf("%+v: the page asks for %s", v, r)
		}
		if len(s.Boxes) == 0 {
			t.Errorf("%+v: no figure at all", v)
		}
		for _, x := range s.Boxes {
			if x.Width < 20 || x.Height < 20 || !x.Loaded {
				t.Errorf("%+v: %s is %gx%g, loaded %v", v, x.Element, x.Width, x.Height, x.Loaded)
			}
		}
		if s.Overflow > 0 {
			t.Errorf("%+v: the page is %d pixels wider than the window", v, s.Overflow)
		}
		for _, f := range s.Faint {
			t.Errorf("%+v: hard to read: %s", v, f)
		}
		backgrounds[v.Dark] = s.Background
	}
	if backgrounds[true] == backgrounds[false] {
		t.Errorf("dark is no darker than light: %s", backgrounds[true])
	}
	if pdf := b.Print(t); len(pdf) < 1000 || !bytes.HasPrefix(pdf, []byte("%PDF")) {
		t.Errorf("printed: %d bytes", len(pdf))
	}
}

// Browser is a running chromium with one page.
type Browser struct {
	in      io.WriteCloser
	out     *bufio.Reader
	next    int
	session string
	events  []message
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// patience is how long the browser may take for one answer on a busy machine.
const patience = 60 * time.Second

// Open starts the browser; it ends with the test.
func Open(t *testing.T) *Browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("skipped: needs a browser to look at the page (Debian's package chromium)")
	}
	toRead, toWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromRead, fromWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	toRead.Close()
	fromWrite.Close()
	b := &Browser{in: toWrite, out: bufio.NewReaderSize(fromRead, 1<<20)}
	t.Cleanup(func() {
		b.send(t, "Browser.close", nil)
		toWrite.Close()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		fromRead.Close()
	})
	var target struct{ TargetID string }
	b.call(t, "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call(t, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(t, domain+".enable", nil, nil)
	}
	return b
}

func (b *Browser) send(t *testing.T, method string, params any) int {
	b.next++
	m := map[string]any{"id": b.next, "method": method}
	if params != nil {
		m["params"] = params
	}
	if b.session != "" && !strings.HasPrefix(method, "Browser.") {
		m["sessionId"] = b.session
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.in.Write(append(data, 0)); err != nil {
		t.Logf("browser: %v", err)
	}
	return b.next
}

// receive reads one message, or ends the test when none comes.
func (b *Browser) receive(t *testing.T) message {
	t.Helper()
	type read struct {
		data []byte
		err  error
	}
	ch := make(chan read, 1)
	go func() {
		data, err := b.out.ReadBytes(0)
		ch <- read{data, err}
	}()
	select {
	case r := <-ch:
		if r.err != nil {
			t.Fatalf("browser: %v", r.err)
		}
		var m message
		if err := json.Unmarshal(bytes.TrimSuffix(r.data, []byte{0}), &m); err != nil {
			t.Fatalf("browser: %v", err)
		}
		return m
	case <-time.After(patience):
		t.Fatal("the browser does not answer")
		return message{}
	}
}

// call waits for the answer; events on the way are kept.
func (b *Browser) call(t *testing.T, method string, params, result any) {
	t.Helper()
	id := b.send(t, method, params)
	for {
		m := b.receive(t)
		if m.ID != id {
			b.events = append(b.events, m)
			continue
		}
		if m.Error != nil {
			t.Fatalf("browser: %s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				t.Fatalf("browser: %s: %v", method, err)
			}
		}
		return
	}
}

// looking is run in the page.
const looking = `(() => {
  const boxes = [...document.querySelectorAll("svg, img, table")].map(e => {
    const r = e.getBoundingClientRect();
    return {element: e.tagName.toLowerCase() + " " + (e.getAttribute("aria-label") || e.alt || ""), width: r.width, height: r.height,
      loaded: e.tagName != "IMG" || (e.complete && e.naturalWidth > 0)};
  });
  const style = getComputedStyle(document.body);
  const channels = c => (c.match(/[\d.]+/g) || []).slice(0, 3).map(Number);
  const light = c => { const l = channels(c).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
  const ground = light(style.backgroundColor);
  const contrast = c => { const l = light(c); return (Math.max(l, ground) + 0.05) / (Math.min(l, ground) + 0.05); };
  const faint = [];
  for (const e of document.querySelectorAll("p, td, th, dt, dd, figcaption, .value, a, svg text")) {
    const s = getComputedStyle(e), c = e.tagName == "text" ? s.fill : s.color;
    if (e.textContent.trim() && contrast(c) < 3) faint.push(e.tagName + " " + c + ": " + e.textContent.slice(0, 40));
  }
  return {boxes, overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, background: style.backgroundColor, ink: style.color, faint: faint.slice(0, 5)};
})()`

// See opens the file in a view.
func (b *Browser) See(t *testing.T, path string, v View) Seen {
	t.Helper()
	scheme, media := "light", "screen"
	if v.Dark {
		scheme = "dark"
	}
	if v.Print {
		media = "print"
	}
	b.call(t, "Emulation.setEmulatedMedia", map[string]any{"media": media, "features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call(t, "Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": false}, nil)
	address := (&url.URL{Scheme: "file", Path: path}).String()
	b.events = nil
	b.call(t, "Page.navigate", map[string]any{"url": address}, nil)
	for !b.happened("Page.loadEventFired") {
		b.events = append(b.events, b.receive(t))
	}
	var answer struct {
		Result struct {
			Value struct {
				Boxes           []Box
				Overflow        float64
				Background, Ink string
				Faint           []string
			}
		}
		ExceptionDetails json.RawMessage
	}
	b.call(t, "Runtime.evaluate", map[string]any{"expression": looking, "returnByValue": true}, &answer)
	if answer.ExceptionDetails != nil {
		t.Fatalf("look at the page: %s", answer.ExceptionDetails)
	}
	found := answer.Result.Value
	s := Seen{Boxes: found.Boxes, Overflow: int(found.Overflow), Background: found.Background, Ink: found.Ink, Faint: found.Faint}
	for _, e := range b.events {
		switch e.Method {
		case "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
			s.Problems = append(s.Problems, fmt.Sprintf("%s: %s", e.Method, e.Params))
		case "Network.requestWillBeSent":
			var p struct{ Request struct{ URL string } }
			if err := json.Unmarshal(e.Params, &p); err != nil {
				t.Fatal(err)
			}
			if u := p.Request.URL; u != address && !strings.HasPrefix(u, "data:") {
				s.Requests = append(s.Requests, u)
			}
		}
	}
	return s
}

func (b *Browser) happened(method string) bool {
	for _, e := range b.events {
		if e.Method == method {
			return true
		}
	}
	return false
}

// Print gives the page as a PDF.
func (b *Browser) Print(t *testing.T) []byte {
	t.Helper()
	var answer struct{ Data []byte }
	b.call(t, "Page.printToPDF", map[string]any{"printBackground": false}, &answer)
	return answer.Data
}
