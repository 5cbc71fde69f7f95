package cli

import "testing"

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text string
		h, w int
		ok   bool
	}{
		{"640", 640, 640, true}, {"480x640", 480, 640, true}, {"480X640", 480, 640, true},
		{"0", 0, 0, false}, {"-1x5", 0, 0, false}, {"640x", 0, 0, false}, {"x640", 0, 0, false},
		{"640x640x3", 0, 0, false}, {"", 0, 0, false}, {"16385", 0, 0, false}, {"1e3", 0, 0, false},
		{"99999999999999999999x1", 0, 0, false},
	} {
		h, w, err := parseSize(c.text)
		if (err == nil) != c.ok || c.ok && (h != c.h || w != c.w) {
			t.Errorf("parseSize(%q) = %d, %d, %v", c.text, h, w, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"build", "bench", "calibrate", "eval", "inspect"}
	for word, want := range map[string]string{
		"biuld": "build", "calibrte": "calibrate", "cal": "calibrate", "evla": "eval",
		"inspekt": "inspect", "zzz": "", "BUILD": "build", "b": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ca", "abc", 3}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
