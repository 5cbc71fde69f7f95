package simplify_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"maps"

	"trtact/internal/fault"
	"trtact/internal/onnx"
	"trtact/internal/onnx/nodetest"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
)

// damage changes a model in one or two places to something senseless.
func damage(r *rand.Rand, m *onnx.Model) {
	integers := []int64{math.MinInt64, -1 << 40, -100, -2, -1, 0, 1, 2, 3, 7, 100, 1 << 20, 1 << 40, math.MaxInt64}
	anyInt := func() int64 { return integers[r.IntN(len(integers))] }
	g := m.Graph
	if len(g.Nodes) == 0 {
		return
	}
	for range 1 + r.IntN(2) {
		n := g.Nodes[r.IntN(len(g.Nodes))]
		switch r.IntN(6) {
		case 0: // an attribute
			for _, name := range slices.Sorted(maps.Keys(n.Attrs)) {
				switch v := n.Attrs[name].(type) {
				case int64:
					n.Attrs[name] = anyInt()
				case []int64:
					if len(v) > 0 {
						v[r.IntN(len(v))] = anyInt()
					}
					if r.IntN(3) == 0 {
						n.Attrs[name] = append(v, anyInt())
					}
				case float32:
					n.Attrs[name] = float32(math.NaN())
				case string:
					n.Attrs[name] = "nonsense"
				}
			}
		case 1: // a constant's elements
			for _, name := range slices.Sorted(maps.Keys(g.Init)) {
				if v, ok := g.Init[name].Data.([]int64); ok && len(v) > 0 {
					v[r.IntN(len(v))] = anyInt()
				}
			}
		case 2: // an input left out
			if len(n.Inputs) > 0 {
				n.Inputs[r.IntN(len(n.Inputs))] = ""
			}
		case 3: // fewer inputs
			if len(n.Inputs) > 0 {
				n.Inputs = n.Inputs[:r.IntN(len(n.Inputs))]
			}
		case 4: // another shape
			if len(g.Inputs) > 0 {
				v := &g.Inputs[r.IntN(len(g.Inputs))]
				v.Dims = append([]int{}, v.Dims...)
				if len(v.Dims) > 0 {
					v.Dims[r.IntN(len(v.Dims))] = r.IntN(4)
				}
				if r.IntN(3) == 0 {
					v.Dims = v.Dims[:r.IntN(len(v.Dims)+1)]
				}
			}
		case 5: // another opset
			m.Opset = 7 + r.IntN(16)
		}
	}
}

// Damaged models give an error or a result, never a panic, and take neither
// long nor much memory.
func TestHostile(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	refused, passed := 0, 0
	for _, c := range nodetest.Cases(t) {
		m, sets, err := c.Load()
		if errors.Is(err, nodetest.ErrOutOfScope) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			d := m.Clone()
			var inputs []onnx.Value
			for i, v := range d.Graph.Inputs { // constants are where values matter
				if i == 0 || r.IntN(3) == 0 {
					inputs = append(inputs, v)
				} else {
					d.Graph.Init[v.Name] = sets[0].Inputs[i].Clone()
				}
			}
			d.Graph.Inputs = inputs
			damage(r, d)
			func() {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("%s: panic: %v\n%s", c.Name, p, text(d.Graph))
					}
				}()
				_, err := simplify.Run(d)
				if err == nil {
					passed++
					err = shape.Resize(d, 64, 32, 2)
					simplify.Fuse(d.Graph, nil)
				} else {
					refused++
				}
				if err != nil && (fault.Code(err) != fault.CodeBadInput || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "runtime error")) {
					t.Errorf("%s: %v", c.Name, err)
				}
			}()
		}
	}
	runtime.ReadMemStats(&after)
	t.Logf("%d damaged models refused, %d still of use, %d MiB taken from the system", refused, passed, (after.Sys-before.Sys)>>20)
	if after.Sys-before.Sys > 2<<30 {
		t.Errorf("%d MiB taken from the system", (after.Sys-before.Sys)>>20)
	}
}
