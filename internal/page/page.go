// Package page writes a report as one HTML file that needs nothing else: style,
// charts and pictures are inside, there is no script, and a content policy forbids the
// browser to fetch anything. It can be opened from a disk, sent to a colleague and
// printed, and follows the reader's choice of light or dark.
//
// What the page is about is the caller's: a Page is sections of tables, charts,
// pictures and text. All text may be hostile (names of models, layers, classes and
// files come from outside); html/template escapes it, and the labels of charts are
// escaped where they are drawn.
package page

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"unicode"
)

// Page is a report.
type Page struct {
	Title string // what it is about, such as the model's name
	Kind  string // what kind of report
	Lead  string // one paragraph: what was found
	Tiles []Tile
	// Sections without a block are left out.
	Sections []Section
	Made     string // by what, for the last line
}

// Tile is one figure, large.
type Tile struct {
	Label string
	Value string
	Note  string
	Tone  Tone
}

// Tone colours a text that is good or bad news.
type Tone string

// The tones.
const (
	Plain Tone = ""
	Good  Tone = "good"
	Bad   Tone = "bad"
)

// Section is a part of the page with a title.
type Section struct {
	ID     string // for links: letters and hyphens
	Title  string
	Short  string // for the list of sections; "": Title
	Text   string
	Blocks []Block
}

// Block is one of its fields, the one that is set.
type Block struct {
	Text   string
	Table  *Table
	Charts []Chart // side by side where there is room
	Pairs  []Pair
	Facts  []Fact
	Code   string
}

// Table is rows under titles.
type Table struct {
	Caption string
	Columns []Column
	Rows    [][]Cell
	// Long tables scroll within the page, and are whole in print.
	Long bool
}

// Column is a title; numbers stand right.
type Column struct {
	Title string
	Right bool
	// Wide columns break long words, such as names of layers.
	Wide bool
}

// Cell is one entry of a table.
type Cell struct {
	Text string
	Tone Tone
	// Bar is the length of a bar below the text, in 0..1.
	Bar float64
	// Note is a smaller text below.
	Note string
}

// Fact is a name and its value.
type Fact struct{ Name, Value string }

// Pair is two pictures side by side.
type Pair struct {
	Caption     string
	Left, Right Picture
}

// Picture is a JPEG file.
type Picture struct {
	Title         string
	JPEG          []byte
	Width, Height int
}

// Texts makes cells of plain texts.
func Texts(texts ...string) []Cell {
	cells := make([]Cell, len(texts))
	for i, t := range texts {
		cells[i].Text = t
	}
	return cells
}

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// Write renders the page.
func (p Page) Write(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"style":   func() template.CSS { return template.CSS(pageCSS) },
		"svg":     Chart.svg,
		"jpeg":    jpegURL,
		"percent": percent,
		"clean":   clean,
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	kept := p
	kept.Sections = nil
	for _, s := range p.Sections {
		if len(s.Blocks) > 0 {
			kept.Sections = append(kept.Sections, s)
		}
	}
	var out bytes.Buffer // nothing is written of a page that fails
	if err := t.Execute(&out, kept); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = w.Write(out.Bytes())
	return err
}

func jpegURL(p Picture) template.URL {
	return template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(p.JPEG))
}

// percent is a share of 0..1 as a length in a style.
func percent(share float64) template.CSS {
	if math.IsNaN(share) {
		share = 0
	}
	return template.CSS(fmt.Sprintf("%.1f%%", 100*math.Max(0, math.Min(1, share))))
}

// clean takes control characters and marks that turn the direction of writing out of a
// text: what is read is what is there.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
