package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// FuzzParse: whatever is in a file, it is refused as bad input in one printable
// line, or read to a configuration that is valid.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(testenv.Root(), "examples", "act", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{actYOLOv5s, actPPYOLOE, "Deploy: {shape: [1, 2], targets: [sm_75]}", "Global: {arch: \"a\\nb\"}",
		"Distillation: {node: &n [a, *n]}", "TrainConfig: {learning_rate: {type: PiecewiseDecay, boundaries: [1], values: [1, 2]}}",
		"HyperParameterOptimization: {bias_correct: [yes, no]}\n--- ", "Global: {? {a: b} : !!x &y 'z'}", "Quantization:\n  exclude: |\n    a\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := Parse("f.yaml", data)
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			return
		}
		text := err.Error()
		if fault.Code(err) != fault.CodeBadInput || len(text) > 1000 || !utf8.ValidString(text) || !strings.HasPrefix(text, "read configuration f.yaml:") {
			t.Fatalf("code %d: %q", fault.Code(err), text)
		}
		if strings.IndexFunc(text, unicode.IsControl) >= 0 {
			t.Fatalf("control character in %q", text)
		}
	})
}
