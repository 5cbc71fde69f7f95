package calib

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
)

// samplePlan is a calibrated plan of the bottleneck graph.
func samplePlan(t *testing.T) *Plan {
	t.Helper()
	p, err := Place(bottleneck(t).Graph, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	p.Model = ModelID{Name: "a <b> & c.onnx"}
	for i := range p.Sites {
		p.Sites[i].Scale = 0.1 / float32(i+3)
		p.Sites[i].AbsMax = 1.3
	}
	p.Method = "absmax"
	p.Equalised = []Equalisation{{"p", []string{"q"}, []float32{1.5, 2}}}
	p.Biases = []BiasCorrection{{"c1", []float32{-1e-3}}}
	return p
}

func TestPlanSurvivesItsFile(t *testing.T) {
	p := samplePlan(t)
	path := filepath.Join(t.TempDir(), "a.plan.json")
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	q, err := LoadPlan(path)
	if err != nil {
		t.Fatal(err)
	}
	wrote, _ := p.JSON()
	if read, _ := q.JSON(); string(read) != string(wrote) {
		t.Errorf("the plan read back is\n%s\nwant\n%s", read, wrote)
	}
	data, _ := os.ReadFile(path)
	if want := `    {"tensor":"b","consumers":["c2"],"scale":0.02,"absmax":1.3,"clipped":0,"why":"input of Conv"},` + "\n"; !strings.Contains(string(data), want) {
		t.Errorf("the file does not hold the line %s:\n%s", want, data)
	}
	if !strings.Contains(string(data), `"a <b> & c.onnx"`) {
		t.Error("a name is escaped for the web")
	}
}

func TestParsePlanRefuses(t *testing.T) {
	good, err := samplePlan(t).JSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePlan(good); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("the sample has no %q", old)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	for _, c := range []struct {
		name string
		edit func(string) string
		want string
	}{
		{"empty", func(string) string { return "" }, "not a plan"},
		{"garbage", func(string) string { return "\x00\xff{" }, "not a plan"},
		{"an array", func(string) string { return "[1]" }, "not a plan"},
		{"cut short", func(s string) string { return s[:len(s)/2] }, "not a plan"},
		{"text behind", func(s string) string { return s + "x" }, "after the closing brace"},
		{"deep nesting", func(string) string { return strings.Repeat("[", 1<<20) }, "not a plan"},
		{"unknown field", swap(`"why"`, `"wyh"`), `unknown field "wyh"`},
		{"version", swap(`"version": 1`, `"version": 7`), "version 7"},
		{"scale of zero", swap(`"scale":0.02,`, `"scale":0,`), `tensor "b": scale 0`},
		{"negative scale", swap(`"scale":0.02,`, `"scale":-1,`), "scale -1"},
		{"subnormal scale", swap(`"scale":0.02`, `"scale":1e-42`), "positive normal"},
		{"scale not a number", swap(`"scale":0.02`, `"scale":NaN`), "line "},
		{"scale too large", swap(`"scale":0.02`, `"scale":1e99`), "line "},
		{"clipped", swap(`"clipped":0`, `"clipped":2`), "clipped share 2"},
		{"twice", swap(`"tensor":"b"`, `"tensor":"a"`), `tensor "a" stands twice`},
		{"no consumers", swap(`"consumers":["c2"]`, `"consumers":[]`), "no consumers"},
		{"unknown group", swap(`"consumers":["c2"]`, `"consumers":["c2"],"group":9`), "group 9 is not in groups"},
		{"weight axis", swap(`"axis":0`, `"axis":-1`), "axis -1"},
		{"pattern", swap(`"residual":true`, `"exclude":["("]`), "exclude pattern"},
		{"factor", swap(`[1.5,2]`, `[1.5,0]`), "factor 0"},
	} {
		_, err := ParsePlan([]byte(c.edit(string(good))))
		if err == nil || fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q and a bad-input code", c.name, err, c.want)
		}
	}
	if _, err := LoadPlan(filepath.Join(t.TempDir(), "none")); fault.Code(err) != fault.CodeBadInput || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSaveRefusesNaN(t *testing.T) {
	p := samplePlan(t)
	p.Sites[1].Scale = float32(math.NaN())
	path := filepath.Join(t.TempDir(), "a.json")
	if err := p.Save(path); err == nil {
		t.Error("a plan with a scale that is not a number is saved")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was left behind")
	}
}

func TestSkip(t *testing.T) {
	p, err := Place(pyramid(t).Graph, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	before := describe(p)
	q := p.Clone()
	q.Skip("c1", "Conv", "trial")
	want := `site x -> [c0] group 0: input of Conv
site cat -> [c2] group 0: input of Conv
weights c0.w [c0] axis 0 x16
weights c2.w [c2] axis 0 x16
float head: last layer of an output branch
float c1: trial
`
	if got := describe(q); got != want {
		t.Errorf("without c1:\n%swant\n%s", got, want)
	}
	if describe(p) != before {
		t.Error("skipping in the copy changed the original")
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(`{"version":1,"model":{"name":"m"},"method":"mse","options":{},"groups":[],"sites":[{"tensor":"a","consumers":["c"],"scale":0.5,"absmax":1,"clipped":0,"why":""}],"weights":[],"skipped":[]}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePlan(data)
		if err != nil {
			return
		}
		text, err := p.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePlan(text); err != nil {
			t.Fatalf("a plan that was read cannot be read again: %v\n%s", err, text)
		}
	})
}
