// What a layer costs in INT8 and what it saves, put together: the front of error against
// latency. On it every form of the model that leaves some layers float is better in one
// of the two than those beside it. Latency is measured where there are engines and the
// GPU that runs them, else it is an estimate and labelled so.

package job

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"trtact/internal/analysis"
	"trtact/internal/onnx"
	"trtact/internal/roofline"
	"trtact/trt"
)

// Front are the forms of a model between all INT8 and all float.
type Front struct {
	// GPU is whose latency it is.
	GPU string `json:"gpu"`
	// Measured says that latencies are of engines; else they are bounds from below, from
	// published peak figures.
	Measured bool `json:"measured"`
	// Points begin with the most layers in INT8.
	Points []FrontPoint `json:"points"`
	Layers []LayerCost  `json:"layers"`
}

// FrontPoint is one form.
type FrontPoint struct {
	Float int `json:"float_layers"`
	// Added are the layers that are float here and not in the point before.
	Added []string `json:"added,omitempty"`
	// Error is the relative error at the heads, expected of layers whose errors are
	// independent.
	Error   float64 `json:"error"`
	Latency float64 `json:"latency_ms"` // of the layers with weights
}

// LayerCost is one layer's.
type LayerCost struct {
	Node  string  `json:"node"`
	FP16  float64 `json:"fp16_ms"`
	INT8  float64 `json:"int8_ms"`
	Error float64 `json:"error,omitempty"` // at the heads, quantised alone; 0: it stays float
	// Slow says that INT8 gains nothing here.
	Slow bool `json:"no_gain,omitempty"`
}

// times are the milliseconds of a layer by node.
type times struct {
	gpu        string
	measured   bool
	order      []string // of the graph
	fp16, int8 map[string]float64
}

// estimate is the times of a graph's layers on a GPU that is not there.
func estimate(g *onnx.Graph, gpu roofline.GPU) times {
	t := times{gpu: gpu.Name, fp16: map[string]float64{}, int8: map[string]float64{}}
	for _, l := range roofline.Layers(g) {
		t.order = append(t.order, l.Node)
		t.fp16[l.Node], t.int8[l.Node] = l.FP16(gpu), l.INT8(gpu)
	}
	return t
}

// times are those of this build: measured, or estimated for the GPU that was named.
func (b *building) times() times {
	if b.spent != nil {
		return *b.spent
	}
	return estimate(b.single.Model.Graph, orDefault(b.o.GPU))
}

// profiled is how often layers run to be timed.
const profiled = 100

// measureLayers is the times of a graph's layers in two engines of it.
func measureLayers(ctx context.Context, g *onnx.Graph, int8, fp16 string, o trt.BuildOptions) (times, error) {
	t := estimate(g, roofline.Default()) // for the names
	t.measured, t.gpu = true, "this machine's GPU"
	for _, e := range []struct {
		path string
		into *map[string]float64
	}{{int8, &t.int8}, {fp16, &t.fp16}} {
		spent, err := layerTimes(ctx, e.path, t.order, o)
		if err != nil {
			return t, err
		}
		*e.into = spent
	}
	return t, nil
}

// layerTimes are the times of the named nodes in an engine. What TensorRT has joined is
// divided among the layers with weights in it.
func layerTimes(ctx context.Context, path string, nodes []string, o trt.BuildOptions) (spent map[string]float64, err error) {
	s, err := trt.OpenSession(ctx, trt.SessionOptions{Engine: path, Layers: true, Log: o.Log, Timeout: o.Timeout, Places: o.Places})
	if err != nil {
		return nil, fmt.Errorf("time the layers of %s: %w", path, err)
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	layers, err := s.Profile(ctx, profiled)
	if err != nil {
		return nil, fmt.Errorf("time the layers of %s: %w", path, err)
	}
	spent = map[string]float64{}
	for _, l := range layers {
		var inside []string
		for _, n := range l.Nodes {
			if slices.Contains(nodes, n) {
				inside = append(inside, n)
			}
		}
		for _, n := range inside {
			spent[n] += l.Milliseconds / float64(len(inside))
		}
	}
	if len(spent) == 0 {
		return nil, fmt.Errorf("time the layers of %s: none of its layers has the name of a node of the model: it was built from another", path)
	}
	return spent, nil
}

// frontPoints is how many points a front has at most.
const frontPoints = 12

// front puts errors and times together. Layers leave INT8 in the order of the square of
// the error that goes with them over the time that it costs, those without gain first.
func front(layers []analysis.Layer, whole float64, t times) *Front {
	f := &Front{GPU: t.gpu, Measured: t.measured}
	errors := map[string]float64{}
	sum := 0.0
	for _, l := range layers {
		errors[l.Node] = l.Error.Mean
		sum += l.Error.Mean * l.Error.Mean
	}
	if sum == 0 || math.IsInf(sum, 0) {
		return nil
	}
	latency := 0.0
	var order []LayerCost
	for _, node := range t.order {
		c := LayerCost{Node: node, FP16: t.fp16[node], INT8: t.int8[node], Error: errors[node]}
		c.Slow = c.INT8 >= c.FP16
		if c.Error > 0 {
			latency += c.INT8
			order = append(order, c)
		} else {
			latency += c.FP16
		}
		f.Layers = append(f.Layers, c)
	}
	worth := func(c LayerCost) float64 {
		if c.Slow {
			return math.Inf(1)
		}
		return c.Error * c.Error / (c.FP16 - c.INT8)
	}
	slices.SortStableFunc(order, func(a, b LayerCost) int { return cmp.Compare(worth(b), worth(a)) })
	rest := sum
	expected := func() float64 { return whole * math.Sqrt(math.Max(0, rest)/sum) }
	f.Points = []FrontPoint{{Error: expected(), Latency: latency}}
	var added []string
	next := 1
	for k, c := range order {
		rest -= c.Error * c.Error
		latency += c.FP16 - c.INT8
		added = append(added, c.Node)
		free := c.Slow && k+1 < len(order) && order[k+1].Slow
		last := k+1 == len(order)
		if free || k+1 < next && !last && !(c.Slow && !order[k+1].Slow) {
			continue
		}
		if last {
			rest = 0
		}
		f.Points = append(f.Points, FrontPoint{Float: k + 1, Added: added, Error: expected(), Latency: latency})
		added = nil
		for next <= k+1 {
			next += max(1, next*2/3)
		}
	}
	if n := len(f.Points); n > frontPoints { // the middle of a long list tells least
		f.Points = thin(f.Points, frontPoints)
	}
	return f
}

// thin keeps the ends and joins points between, what they add included.
func thin(list []FrontPoint, most int) []FrontPoint {
	for len(list) > most {
		at, least := 1, math.Inf(1)
		for i := 1; i < len(list)-1; i++ {
			if d := list[i-1].Error - list[i+1].Error; d < least {
				at, least = i, d
			}
		}
		list[at+1].Added = append(list[at].Added, list[at+1].Added...)
		list = slices.Delete(list, at, at+1)
	}
	return list
}

// label says what the latencies of a front are.
func (f *Front) label() string {
	if f.Measured {
		return "measured on " + f.GPU
	}
	return "estimate for " + f.GPU + ", from published peak figures: a bound from below"
}
