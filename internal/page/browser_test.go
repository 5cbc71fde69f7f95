package page_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/page"
	"trtact/internal/page/pagetest"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInBrowser(t *testing.T) {
	for name, p := range page.SamplePages(t) {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := p.Write(&out); err != nil {
				t.Fatal(err)
			}
			pagetest.Check(t, write(t, out.String()))
		})
	}
}

// The looking itself: what is wrong must be seen.
func TestBrowserSeesFaults(t *testing.T) {
	b := pagetest.Open(t)
	s := b.See(t, write(t, `<!DOCTYPE html><body style="background:#fff"><p style="color:#eee">faint</p><img src="http://127.0.0.1:9/x.png">
<svg width="0" height="0"></svg><div style="width:3000px">wide</div><script>console.error("bad")</script></body>`), pagetest.Views()[0])
	if len(s.Requests) != 1 || !strings.HasPrefix(s.Requests[0], "http://127.0.0.1:9/") {
		t.Errorf("requests %q", s.Requests)
	}
	if len(s.Problems) == 0 || len(s.Faint) != 1 || s.Overflow < 1000 {
		t.Errorf("problems %q, faint %q, overflow %d", s.Problems, s.Faint, s.Overflow)
	}
	if len(s.Boxes) != 2 || s.Boxes[0].Loaded || s.Boxes[1].Width != 0 {
		t.Errorf("boxes %+v", s.Boxes)
	}
}
