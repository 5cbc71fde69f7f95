package nearest

import (
	"slices"
	"testing"
)

func TestWordOfAKey(t *testing.T) {
	known := []string{"train_iter", "eval_iter", "epochs", "T_max", "Quantization"}
	for word, want := range map[string]string{
		"trian_iter": "train_iter", "train-iter": "train_iter", "TRAIN_ITER": "train_iter", "train_iters": "train_iter",
		"evaliter": "eval_iter", "epoch": "epochs", "tmax": "T_max", "quantisation": "Quantization", "quant": "Quantization",
		"zzz": "", "x": "", "": "", "learning_rate": "",
	} {
		if got := Word(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestWordOfACommand(t *testing.T) {
	known := []string{"build", "bench", "calibrate", "eval", "inspect"}
	for word, want := range map[string]string{
		"biuld": "build", "calibrte": "calibrate", "cal": "calibrate", "evla": "eval",
		"inspekt": "inspect", "zzz": "", "BUILD": "build", "b": "",
	} {
		if got := Word(word, known); got != want {
			t.Errorf("Word(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestSlips(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ca", "abc", 3}} {
		if got := slips(c.a, c.b); got != c.want {
			t.Errorf("slips(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	known := []string{"/model.24/m.0/Conv", "/model.24/m.1/Conv", "/model.2/cv1/conv/Conv", "output0", ""}
	for name, want := range map[string][]string{
		"/model.24/m.0/Comv": {"/model.24/m.0/Conv", "/model.24/m.1/Conv"},
		"m.1":                {"/model.24/m.1/Conv"},
		"output":             {"output0"},
		"nothing like it":    nil,
	} {
		if got := Names(name, known, 2); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
