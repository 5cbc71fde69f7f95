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
