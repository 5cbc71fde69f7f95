package calib

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// TestCacheFormat holds the text against values worked out by hand: 1/127 is
// 0x3c010204 and 1 is 0x3f800000 as IEEE 754 has them.
func TestCacheFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.cache")
	c := Cache{"images": 1.0 / 127, "a/b: c": 1, "dead": MinScale}
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "TRT-8401-EntropyCalibration2\na/b: c: 3f800000\ndead: 00800000\nimages: 3c010204\n"
	if string(data) != want {
		t.Errorf("wrote\n%swant\n%s", data, want)
	}
	back, err := ParseCache(data)
	if err != nil || !maps.Equal(back, c) {
		t.Errorf("read back %v, %v: want %v", back, err, c)
	}
}

func TestCacheRefuses(t *testing.T) {
	header := CacheHeader + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":    {"", "empty"},
		"header":   {"a: 3f800000\n", "line 1"},
		"no scale": {header + "a\n", "line 2"},
		"letters":  {header + "a: 3f80zz00\n", "hexadecimal"},
		"too long": {header + "a: 13f800000\n", "hexadecimal"},
		"nan":      {header + "a: 7fc00000\n", "NaN"},
		"zero":     {header + "a: 0\n", "scale 0"},
		"negative": {header + "a: bf800000\n", "scale -1"},
		"twice":    {header + "a: 3f800000\nb: 3f800000\na: 3f800000\n", "line 4"},
	} {
		_, err := ParseCache([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.Code(err) != fault.CodeBadInput {
			t.Errorf("%s: error %v: want %q in it", name, err, c.want)
		}
	}
	for _, c := range []Cache{{"a\nb": 1}, {"": 1}, {"a": float32(math.NaN())}} {
		if err := c.Save(filepath.Join(t.TempDir(), "x")); err == nil {
			t.Errorf("%v is written", c)
		}
	}
}

// TestPlanCache: quantised tensors have the plan's scales; what a Concat or a
// MaxPool joins with them has the same, what an activation separates has none.
func TestPlanCache(t *testing.T) {
	s := newSketch(t, 1, 16, 8, 8)
	a := s.node("Relu", "a", nil, s.conv("c1", "x", 16, 16, 3, 1))
	b := s.node("Relu", "b", nil, s.conv("c2", "x", 16, 16, 3, 1))
	joined := s.node("Concat", "joined", map[string]onnx.Attr{"axis": int64(1)}, a, b)
	s.conv("c3", joined, 32, 16, 1, 1)
	p := &Plan{Sites: []Site{{Tensor: "x", Scale: 0.5}, {Tensor: "joined", Scale: 0.25}}}
	c, err := p.Cache(s.m.Graph)
	if want := (Cache{"x": 0.5, "joined": 0.25, "a": 0.25, "b": 0.25}); err != nil || !maps.Equal(c, want) {
		t.Errorf("cache %v, %v: want %v", c, err, want)
	}
	if _, err := (&Plan{Sites: []Site{{Tensor: "x"}}}).Cache(s.m.Graph); err == nil {
		t.Error("a plan without scales makes a cache")
	}
}

// TestAdopt: a group gets its largest scale, and what reads a tensor that the cache does
// not name leaves the plan.
func TestAdopt(t *testing.T) {
	s := newSketch(t, 1, 16, 8, 8)
	s.conv("c1", "x", 16, 16, 3, 1)
	p := &Plan{Version: PlanVersion, Groups: []Group{{ID: 1, Tensors: []string{"a", "b"}}}, Sites: []Site{
		{Tensor: "x", Consumers: []string{"c1"}}, {Tensor: "a", Group: 1, Consumers: []string{"c2"}},
		{Tensor: "b", Group: 1, Consumers: []string{"c3"}}, {Tensor: "y", Consumers: []string{"c4"}}}}
	if err := p.Adopt(Cache{"a": 0.25, "b": 0.5, "y": 2}, s.m.Graph); err != nil {
		t.Fatal(err)
	}
	scales := map[string]float32{}
	for _, s := range p.Sites {
		scales[s.Tensor] = s.Scale
	}
	if want := map[string]float32{"a": 0.5, "b": 0.5, "y": 2}; !maps.Equal(scales, want) {
		t.Errorf("scales %v, want %v", scales, want)
	}
	if len(p.Skipped) != 1 || p.Skipped[0].Node != "c1" || p.Skipped[0].Op != "Conv" || p.Method != FromCache {
		t.Errorf("skipped %+v, method %q", p.Skipped, p.Method)
	}
	if err := p.Adopt(Cache{"z": 1}, s.m.Graph); fault.Code(err) != fault.CodeBadInput {
		t.Errorf("a cache of another model: %v", err)
	}
}

func TestLoadCache(t *testing.T) {
	dir := t.TempDir()
	good, bad, other := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "other")
	if err := (Cache{"x": 0.5}).Save(good); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{bad: CacheHeader + "\nx\n", other: `{"version": 1}`} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{good: true, bad: true, other: false, filepath.Join(dir, "none"): false} {
		if got := IsCache(path); got != want {
			t.Errorf("%s is a cache: %v", path, got)
		}
	}
	if c, err := LoadCache(good); err != nil || !maps.Equal(c, Cache{"x": 0.5}) {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := LoadCache(bad); fault.Code(err) != fault.CodeBadInput || !strings.Contains(err.Error(), "bad: ") || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v", err)
	}
}
