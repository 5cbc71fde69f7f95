package compute

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// torchScript reads {"name", "torch", "in": [[dims, values]], "dy": [dims, values],
// "of": [inputs]} and writes the gradients. Everything is computed in float64.
const torchScript = `
import json, sys, torch
import torch.nn.functional as F
torch.set_num_threads(1)
D = torch.float64
class Straight(torch.autograd.Function): # rounds, and passes the gradient through
    @staticmethod
    def forward(ctx, x): return x.round()
    @staticmethod
    def backward(ctx, g): return g
rounded = Straight.apply
def clipped(x, low, high): # torch.clamp has no gradient at its limits, torch.fake_quantize has
    return torch.where(x < low, torch.full_like(x, low), torch.where(x > high, torch.full_like(x, high), x))
def tensor(t):
    return torch.tensor(t["values"], dtype=D).reshape(t["dims"])
out = []
for c in json.load(open(sys.argv[1])):
    i = [tensor(t) for t in c["in"]]
    for k in c["of"]:
        i[k].requires_grad_()
    y = eval(c["torch"])
    dy = tensor(c["dy"])
    assert y.shape == dy.shape, (c["name"], y.shape, dy.shape)
    y.backward(dy)
    out.append([i[k].grad.flatten().tolist() for k in c["of"]])
json.dump(out, open(sys.argv[2], "w"))
`

// torch runs a script with PyTorch: argument 1 is a JSON file with in, argument 2
// the JSON file that out is read from.
func torch(t *testing.T, script string, in, out any) {
	t.Helper()
	python := os.Getenv("TRTACT_TORCH")
	if python == "" {
		t.Skip("skipped: needs a Python with PyTorch (TRTACT_TORCH)")
	}
	dir := t.TempDir()
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	from, to := filepath.Join(dir, "in.json"), filepath.Join(dir, "out.json")
	if err := os.WriteFile(from, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(python, "-c", script, from, to).CombinedOutput(); err != nil {
		t.Fatalf("python: %v\n%s", err, text)
	}
	if data, err = os.ReadFile(to); err != nil {
		t.Fatal(err)
	}
	// Python writes what JSON has no word for.
	text := strings.NewReplacer("NaN", "null", "-Infinity", "null", "Infinity", "null").Replace(string(data))
	if err := json.Unmarshal([]byte(text), out); err != nil {
		t.Fatal(err)
	}
}

type torchTensor struct {
	Dims   []int     `json:"dims"`
	Values []float32 `json:"values"`
}

// TestGradientsAgainstTorch compares every element of every backward operator
// with PyTorch's autograd.
func TestGradientsAgainstTorch(t *testing.T) {
	type request struct {
		Name  string        `json:"name"`
		Torch string        `json:"torch"`
		In    []torchTensor `json:"in"`
		DY    torchTensor   `json:"dy"`
		Of    []int         `json:"of"`
	}
	cases := gradientCases()
	var requests []request
	place := make([]map[int]int, len(cases)) // input -> entry of Of
	for n, c := range cases {
		in, dy := c.values()
		r := request{Name: c.name, Torch: c.torch, DY: torchTensor{c.out, dy}}
		for i, dims := range c.in {
			r.In = append(r.In, torchTensor{dims, in[i]})
		}
		place[n] = map[int]int{}
		for _, g := range c.gradients(c.layouts[0]) {
			for _, k := range g.of {
				if _, ok := place[n][k]; !ok && k >= 0 {
					place[n][k] = len(r.Of)
					r.Of = append(r.Of, k)
				}
			}
		}
		requests = append(requests, r)
	}
	var want [][][]float64
	torch(t, torchScript, requests, &want)
	worst := 0.0
	eachLibrary(t, func(t *testing.T, d *Device) {
		for n := range cases {
			c := &cases[n]
			for _, l := range c.layouts {
				c.run(t, d, l, 2, func(name string, k int, got []float32) {
					w := want[n][place[n][k]]
					top, off := 0.0, 0.0
					for _, v := range w {
						top = math.Max(top, math.Abs(v))
					}
					for i, v := range w {
						off = math.Max(off, math.Abs(float64(got[i])-v)/(top+1e-30))
						if !agrees(got[i], v, top) {
							t.Errorf("%s: element %d is %g, PyTorch's %g", name, i, got[i], v)
							return
						}
					}
					worst = math.Max(worst, off)
				})
			}
		}
	})
	t.Logf("%d functions; largest difference %.2g of the tensor's largest gradient", len(cases), worst)
}
