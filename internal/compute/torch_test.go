package compute

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// reference is what PyTorch made of a tensor: every Step-th element, and the largest
// magnitude of all.
type reference struct {
	Step   int       `json:"step"`
	Top    float64   `json:"top"`
	Values []float64 `json:"values"`
}

// sampled is how many elements of a tensor are kept in testdata at most.
const sampled = 24

func referenceOf(values []float64, most int) reference {
	r := reference{Step: max(1, (len(values)+most-1)/most)}
	for i, v := range values {
		r.Top = math.Max(r.Top, math.Abs(v))
		if i%r.Step == 0 {
			r.Values = append(r.Values, v)
		}
	}
	return r
}

// references runs a script with PyTorch and gives all that it found, by the case's
// name. Without TRTACT_TORCH it gives what is stored in file, which
// TRTACT_UPDATE_SNAPSHOTS=1 writes (make references).
func references(t *testing.T, file, script string, names []string, in any) map[string][]reference {
	t.Helper()
	file = filepath.Join("testdata", file)
	found := map[string][]reference{}
	if os.Getenv("TRTACT_TORCH") == "" {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &found); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if found[name] == nil {
				t.Fatalf("%s has no values for %q: run make references", file, name)
			}
		}
		return found
	}
	var all [][][]float64
	torch(t, script, in, &all)
	kept := map[string][]reference{}
	for i, list := range all {
		if found[names[i]] != nil {
			t.Fatalf("two cases are named %q", names[i])
		}
		for _, values := range list {
			found[names[i]] = append(found[names[i]], referenceOf(values, len(values)))
			few := referenceOf(values, sampled)
			for k, v := range few.Values { // seven digits are plenty
				few.Values[k], _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 7, 64), 64)
			}
			kept[names[i]] = append(kept[names[i]], few)
		}
	}
	if os.Getenv("TRTACT_UPDATE_SNAPSHOTS") != "" {
		data, err := json.Marshal(kept)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// torch runs a script with PyTorch: argument 1 is a JSON file with in, argument 2
// the JSON file that out is read from.
func torch(t *testing.T, script string, in, out any) {
	t.Helper()
	python := os.Getenv("TRTACT_TORCH")
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
	names := make([]string, len(cases))
	for n, c := range cases {
		names[n] = c.name
	}
	want := references(t, "gradients.json", torchScript, names, requests)
	worst := 0.0
	eachDevice(t, func(t *testing.T, d *Device) {
		for n := range cases {
			c := &cases[n]
			t.Run(c.name, func(t *testing.T) {
				for _, l := range c.layouts {
					c.run(t, d, l, 2, func(name string, k int, got []float32) {
						w := want[c.name][place[n][k]]
						off := 0.0
						for i, v := range w.Values {
							g := got[i*w.Step]
							off = math.Max(off, math.Abs(float64(g)-v)/(w.Top+1e-30))
							if !agrees(g, v, w.Top) {
								t.Errorf("%s: element %d is %g, PyTorch's %g", name, i*w.Step, g, v)
								return
							}
						}
						worst = math.Max(worst, off)
					})
				}
			})
		}
	})
	t.Logf("%d functions; largest difference %.2g of the tensor's largest gradient", len(cases), worst)
}
