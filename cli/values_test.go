package cli

import (
	"slices"
	"testing"
)

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

func TestParseTargets(t *testing.T) {
	got, err := parseTargets("sm_86, SM_75,sm_120,sm_75")
	if err != nil || !slices.Equal(got, []int{75, 86, 120}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "sm75", "86", "sm_", "sm_1", "sm_86,", "sm_86;sm_75", "sm_1234"} {
		if got, err := parseTargets(bad); err == nil {
			t.Errorf("parseTargets(%q) = %v", bad, got)
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
