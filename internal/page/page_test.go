package page

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hostile is what a model or a file may be called.
const hostile = `<script>alert("x")</script>' onload=alert(1) "></svg><img src=http://evil.example/x> ` + "\u202e\x1b[31m #FF0001"

func jpegOf(t testing.TB, w, h int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Pix[i] = uint8(i * 7)
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// example has every kind of block, with the same name everywhere.
func example(t testing.TB, name string) Page {
	picture := Picture{Title: name, JPEG: jpegOf(t, 64, 48), Width: 64, Height: 48}
	counts := make([]int, 64)
	for i := range counts {
		counts[i] = i * i
	}
	return Page{
		Title: name, Kind: "INT8 report", Lead: "What was found in " + name + ".", Made: "made by " + name,
		Tiles: []Tile{{Label: name, Value: "-0.12", Note: "points", Tone: Good}, {Label: "weights", Value: "30 %"}},
		Sections: []Section{
			{ID: "tables", Title: "Tables", Text: "About " + name, Blocks: []Block{
				{Table: &Table{Caption: name, Columns: []Column{{Title: "layer", Wide: true}, {Title: "error", Right: true}},
					Rows: [][]Cell{{{Text: name}, {Text: "1.5", Bar: 0.5, Tone: Bad}}, Texts("b", "2")}, Long: true}},
				{Facts: []Fact{{"model", name}}}, {Code: name}, {Text: name},
			}},
			{ID: "charts", Title: "Charts", Blocks: []Block{{Charts: []Chart{
				Bars(name, "error", []Bar{{Name: name, Value: 3}, {Name: "b", Value: 1, Marked: true}}),
				Lines("lines", LineOptions{XLabel: name, YLabel: "loss", Log: true},
					Curve{Name: name, X: []float64{1, 2, 3}, Y: []float64{10, math.NaN(), 0.1}},
					Curve{Name: "b", X: []float64{1, 3}, Y: []float64{5, 5}, Kind: INT8, Points: true, Dashed: true}),
				Histogram(name, -1, 1, counts, counts),
				Boxes(name, "value", []Box{{Name: name, Min: -1, Lower: -0.5, Q1: -0.2, Median: 0, Q3: 0.2, Upper: 0.5, Max: 1}}),
			}}}},
			{ID: "pictures", Title: "Pictures", Blocks: []Block{{Pairs: []Pair{{Caption: name, Left: picture, Right: picture}}}}},
			{ID: "empty", Title: "Not there"},
		},
	}
}

func render(t testing.TB, p Page) string {
	t.Helper()
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The elements of a page and their order, without what is inside of charts and
// pictures.
func TestStructure(t *testing.T) {
	text := render(t, example(t, "yolo"))
	text = regexp.MustCompile(`(?s)<style>.*?</style>`).ReplaceAllString(text, "<style></style>")
	text = regexp.MustCompile(`(?s)(<svg[^>]*>).*?</svg>`).ReplaceAllString(text, "$1</svg>")
	text = regexp.MustCompile(`base64,[^"]*`).ReplaceAllString(text, "base64,")
	text = regexp.MustCompile(`\n\s*\n+`).ReplaceAllString(text, "\n")
	path := filepath.Join("testdata", "page.html")
	if os.Getenv("TRTACT_UPDATE_SNAPSHOTS") == "1" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the page's structure has changed; look at it and run `make update-snapshots`:\n%s", text)
	}
}

func TestHostileNames(t *testing.T) {
	text := render(t, example(t, hostile))
	body := text[strings.Index(text, "<body>"):]
	for _, bad := range []string{"<script", "\u202e", "\x1b", "onload=alert(1) \"", "<img src=http", "'\"></svg>"} {
		if strings.Contains(body, bad) {
			at := strings.Index(body, bad)
			t.Errorf("%q is in the page: ...%s", bad, body[max(0, at-80):at+40])
		}
	}
	plain := render(t, example(t, "yolo"))
	for _, element := range []string{"<svg", "</svg>", "<img", "<table", "<td", "<section", "<a "} {
		if a, b := strings.Count(text, element), strings.Count(plain, element); a != b {
			t.Errorf("%d times %s, %d with a harmless name", a, element, b)
		}
	}
	if !strings.Contains(text, "&lt;script&gt;") {
		t.Error("the name is not in the page")
	}
}

// Nothing is fetched, and no colour of a chart escapes the themes.
func TestSelfContained(t *testing.T) {
	text := render(t, example(t, "yolo"))
	for _, m := range regexp.MustCompile(`(?i)(src|href|url|@import|srcset)\s*[=(]\s*["']?([^"')\s>]*)`).FindAllStringSubmatch(text, -1) {
		if v := m[2]; !strings.HasPrefix(v, "data:") && !strings.HasPrefix(v, "#") {
			t.Errorf("the page refers to %q", m[0])
		}
	}
	charts := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1)
	if len(charts) != 4 {
		t.Fatalf("%d charts", len(charts))
	}
	for _, c := range charts {
		if m := regexp.MustCompile(`#[0-9A-Fa-f]{6}`).FindString(c); m != "" {
			t.Errorf("colour %s is fixed in a chart: %.200s", m, c)
		}
		if !strings.Contains(c, "var(--ink)") || !strings.Contains(c, "<text") {
			t.Errorf("a chart without text in the page's colour: %.200s", c)
		}
	}
	if !strings.Contains(text, "default-src 'none'") {
		t.Error("no content policy")
	}
}

func TestPNG(t *testing.T) {
	for _, c := range example(t, "yolo").Sections[1].Blocks[0].Charts {
		var out bytes.Buffer
		if err := c.PNG(&out); err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(&out)
		if err != nil {
			t.Fatal(err)
		}
		if img.Bounds().Dx() < 300 {
			t.Errorf("%s: %v", c.Title, img.Bounds())
		}
	}
}

// Odd data must not stop a report.
func TestOddData(t *testing.T) {
	none := []float64{}
	nan := []float64{math.NaN()}
	for _, c := range []Chart{
		Bars("no bars", "", nil), Bars("zeros", "", []Bar{{Name: ""}, {Name: "b"}}),
		Lines("nothing", LineOptions{}), Lines("empty", LineOptions{Log: true}, Curve{Name: "a", X: none, Y: none}),
		Lines("nan", LineOptions{}, Curve{X: nan, Y: nan}), Lines("one", LineOptions{Log: true}, Curve{X: []float64{1}, Y: []float64{1}}),
		Lines("flat", LineOptions{FromZero: true}, Curve{X: []float64{1, 2}, Y: []float64{0, 0}}),
		Lines("huge", LineOptions{}, Curve{X: []float64{1, 2}, Y: []float64{1e-30, 1e30}}),
		Histogram("one value", 0, 0, make([]int, 64), make([]int, 64)), Histogram("none", 0, 0, nil, nil),
		Boxes("none", "", nil), Boxes("same", "", []Box{{}}),
	} {
		if _, err := c.svg(); err != nil {
			t.Errorf("%s: %v", c.Title, err)
		}
		if err := c.PNG(&bytes.Buffer{}); err != nil {
			t.Errorf("%s: %v", c.Title, err)
		}
	}
}
