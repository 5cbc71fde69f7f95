package calib

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/testenv"
)

// distributions are values as networks have them, by name.
func distributions() map[string][]float32 {
	r := rand.New(rand.NewPCG(5, 6))
	make1 := func(n int, f func() float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(f())
		}
		return v
	}
	const n = 200000
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	return map[string][]float32{
		"normal":  make1(n, r.NormFloat64),
		"uniform": make1(n, func() float64 { return r.Float64()*2 - 1 }),
		"relu":    make1(n, func() float64 { return math.Max(0, r.NormFloat64()) }),
		"silu":    make1(n, func() float64 { return silu(2 * r.NormFloat64()) }),
		// One value in a thousand is 50 times as large as the rest.
		"outliers": make1(n, func() float64 {
			v := r.NormFloat64()
			if r.IntN(1000) == 0 {
				v *= 50
			}
			return v
		}),
		"laplace": make1(n, func() float64 { return (2*float64(r.IntN(2)) - 1) * r.ExpFloat64() }),
	}
}

func statisticsOf(t *testing.T, values []float32) *Statistics {
	t.Helper()
	o := NewObserver([]string{"x"})
	if err := o.Image(0, memory{"x": values}); err != nil {
		t.Fatal(err)
	}
	all, err := o.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	return all["x"]
}

// bruteForce computes from the raw values, without any histogram but for the
// entropy method, which is defined on one: its textbook form.
const bruteForce = `
import json, sys, numpy as np
x = np.fromfile(sys.argv[1], "<f4").astype(np.float64)
upper, used, chosen = float(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
m = np.abs(x); top = m.max()
def quantise(v, t):
    s = t / 127
    return np.clip(np.rint(v / s), -127, 127) * s
def mse(t): return float(((quantise(x, t) - x) ** 2).mean())
def emd(t):
    q = quantise(m, t)
    return float(abs(q.mean() - m.mean()) + abs(q.std() - m.std()))
grid = [top * 2.0 ** (-k / 32) for k in range(0, 321)]
h, _ = np.histogram(m, 2048, (0, upper)); h = h.astype(np.float64); h[0] = h[1]
h = h[:used]
def kl(n):
    p = h[:n].copy(); tail = h[n:].sum(); p[-1] += tail
    src = h[:n]; level = np.arange(n) * 128 // n
    total = np.bincount(level, src, 128); full = np.bincount(level, src > 0, 128)
    q = np.where(src > 0, (total / np.maximum(full, 1))[level], 0)
    p = p / p.sum(); q = q / q.sum()
    q[(p > 0) & (q == 0)] = 1e-9
    k = p > 0
    return float((p[k] * np.log(p[k] / q[k])).sum())
kls = {n: kl(n) for n in range(128, used + 1)} if used > 128 else {}
sweep = [top * (0.3 + 0.02 * k) for k in range(36)]
out = {
  "percentile": {p: float(np.percentile(m, float(p))) for p in ("99.9", "99.99", "99.999")},
  "mse_best": min(map(mse, grid)), "mse_chosen": mse(chosen["mse"]),
  "emd_best": min(map(emd, sweep)), "emd_chosen": emd(chosen["emd"]), "std": float(m.std()),
  "kl_best": min(kls.values()) if kls else 0, "kl_chosen": kls.get(round(chosen["entropy"] / upper * 2048), 0) if kls else 0,
}
print(json.dumps(out))
`

func TestMethodsAgainstBruteForce(t *testing.T) {
	testenv.Python(t)
	for name, values := range distributions() {
		t.Run(name, func(t *testing.T) {
			s := statisticsOf(t, values)
			var raw bytes.Buffer
			if err := binary.Write(&raw, binary.LittleEndian, values); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "values")
			if err := os.WriteFile(file, raw.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			chosen := map[string]float64{}
			for key, m := range map[string]Method{"mse": MSE, "emd": EMD, "entropy": Entropy} {
				c, err := m.Clip(s)
				if err != nil {
					t.Fatal(err)
				}
				chosen[key] = c
			}
			// Clip never exceeds absmax; the search itself ends on a bin's edge.
			chosen["entropy"] = entropyClip(&s.Histogram)
			args, _ := json.Marshal(chosen)
			upper, _ := json.Marshal(s.Histogram.Upper)
			used, _ := json.Marshal(s.Histogram.used())
			var want struct {
				Percentile map[string]float64
				MSEBest    float64 `json:"mse_best"`
				MSEChosen  float64 `json:"mse_chosen"`
				EMDBest    float64 `json:"emd_best"`
				EMDChosen  float64 `json:"emd_chosen"`
				STD        float64 `json:"std"`
				KLBest     float64 `json:"kl_best"`
				KLChosen   float64 `json:"kl_chosen"`
			}
			out := testenv.RunPython(t, bruteForce, file, string(upper), string(used), string(args))
			if err := json.Unmarshal([]byte(out), &want); err != nil {
				t.Fatal(err)
			}
			for text, p := range map[string]float64{"99.9": 99.9, "99.99": 99.99, "99.999": 99.999} {
				got, err := Percentile(p).Clip(s)
				if err != nil {
					t.Fatal(err)
				}
				mean, err := MeanPercentile(p).Clip(s)
				if err != nil {
					t.Fatal(err)
				}
				// Between two neighbouring order statistics of a thin tail numpy
				// interpolates and the histogram does not: allow a bin and 2 %.
				if limit := s.Histogram.Width() + 0.02*want.Percentile[text]; math.Abs(got-want.Percentile[text]) > limit {
					t.Errorf("percentile %s: %v, numpy %v", text, got, want.Percentile[text])
				}
				if math.Abs(got-mean) > 1e-5*got { // one image: the mean is itself
					t.Errorf("mean percentile %s: %v, percentile %v", text, mean, got)
				}
			}
			// The chosen clip value must be nearly as good, measured on the raw
			// values, as the best of a finer grid.
			if want.MSEChosen > want.MSEBest*1.02 {
				t.Errorf("mse: clip %v has error %v, the best has %v", chosen["mse"], want.MSEChosen, want.MSEBest)
			}
			if want.EMDChosen > want.EMDBest+1e-3*want.STD {
				t.Errorf("emd: clip %v has distance %v, the best has %v", chosen["emd"], want.EMDChosen, want.EMDBest)
			}
			if math.Abs(want.KLChosen-want.KLBest) > 1e-9+1e-6*want.KLBest {
				t.Errorf("entropy: clip %v has divergence %v, the best has %v", chosen["entropy"], want.KLChosen, want.KLBest)
			}
		})
	}
}

func TestMeanSquaredErrorAgainstSampling(t *testing.T) {
	// A density that is constant inside every bin, sampled finely.
	h := Histogram{Upper: 4, Counts: make([]int64, Bins)}
	r := rand.New(rand.NewPCG(7, 8))
	for i := range h.Counts {
		h.Counts[i] = int64(r.IntN(1000))
	}
	for _, clip := range []float64{4, 2.3, 0.9, 0.05} {
		s := clip / QMax
		var sum, total float64
		const points = 400
		for i, c := range h.Counts {
			for k := range points {
				x := (float64(i) + (float64(k)+0.5)/points) * h.Width()
				q := s * math.Min(QMax, math.RoundToEven(x/s))
				sum += float64(c) * (x - q) * (x - q)
				total += float64(c)
			}
		}
		got, want := meanSquaredError(&h, s), sum/total
		if math.Abs(got-want) > 1e-4*want {
			t.Errorf("clip %v: %v, sampled %v", clip, got, want)
		}
	}
}

func TestClipOfZerosAndSparse(t *testing.T) {
	zeros := statisticsOf(t, make([]float32, 100))
	sparse := make([]float32, 100000)
	sparse[17] = 3
	one := statisticsOf(t, sparse)
	for _, m := range Methods() {
		c, err := m.Clip(zeros)
		if err != nil || c != 0 || Scale(c) != MinScale {
			t.Errorf("%s of zeros: clip %v, scale %v (%v); want 0 and the smallest normal", m, c, Scale(c), err)
		}
		c, err = m.Clip(one)
		if err != nil || !(c > 0 && c <= 3) {
			t.Errorf("%s of one value 3 among zeros: clip %v (%v)", m, c, err)
		}
	}
}

func TestParseMethod(t *testing.T) {
	for _, m := range Methods() {
		if got, err := ParseMethod(string(m)); err != nil || got != m {
			t.Errorf("%q is read as %q (%v)", m, got, err)
		}
	}
	for text, want := range map[string]Method{"percentile": "percentile:99.99", "percentile:99.5": "percentile:99.5", "kl": Entropy} {
		if got, err := ParseMethod(text); err != nil || got != want {
			t.Errorf("%q is read as %q (%v), want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "percentile:0", "percentile:101", "percentile:NaN", "mean-percentile:50", "best"} {
		if _, err := ParseMethod(text); fault.Code(err) != fault.CodeUsage {
			t.Errorf("%q: error %v, want a usage error", text, err)
		}
	}
	if _, err := Method("x").Clip(&Statistics{AbsMax: 1, Histogram: Histogram{Upper: 1, Counts: make([]int64, Bins)}}); err == nil || errors.Is(err, nil) {
		t.Error("an unknown method gives a clip value")
	}
}
