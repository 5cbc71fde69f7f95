// Package calib decides how a detector is quantised to INT8: which tensors get
// a quantiser (Place), what their values look like (Observer), which scale each
// gets (Method, Auto), and how the decision is written into the graph (Apply).
//
// The decision itself is a Plan: a plain value and a JSON file that a person can
// read and change. Everything before the plan only proposes; everything after
// it only obeys.
package calib

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
)

// PlanVersion is the version of the plan file that this program writes and reads.
const PlanVersion = 1

// maxPlanBytes bounds the plan file that Load reads; real ones are below 2 MiB.
const maxPlanBytes = 256 << 20

// Limits of the INT8 grid: activations use [QMin, QMax], weights the symmetric
// [-QMax, QMax].
const (
	QMin = -128
	QMax = 127
)

// MinScale is the smallest scale written: the smallest normal float32, which a
// tensor or channel that is always zero gets.
const MinScale = float32(0x1p-126)

// Plan says how one model is quantised.
type Plan struct {
	Version int     `json:"version"`
	Model   ModelID `json:"model"`
	// Method is how the scales were chosen: a Method, or "auto: " and the
	// methods that won.
	Method  string  `json:"method"`
	Options Options `json:"options"`
	// Groups lists the sites that share one scale because TensorRT moves
	// quantisers through the operators between them.
	Groups []Group `json:"groups"`
	// Sites holds one entry per quantised activation tensor.
	Sites []Site `json:"sites"`
	// Weights holds one entry per quantised constant.
	Weights []WeightSite `json:"weights"`
	// Skipped lists the layers that stay float. Apply leaves every node named
	// here alone, so adding a line takes a layer out.
	Skipped []Skip `json:"skipped"`
	// Equalised and Biases change the float weights before they are quantised.
	Equalised []Equalisation   `json:"equalised,omitempty"`
	Biases    []BiasCorrection `json:"biases,omitempty"`
}

// ModelID names the model file that a plan belongs to.
type ModelID struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"`
}

// Site is one activation tensor that is quantised for some of its consumers.
type Site struct {
	Tensor string `json:"tensor"`
	// Consumers are the nodes, by name, that read the quantised tensor; all
	// others read the float one.
	Consumers []string `json:"consumers"`
	// Group is the ID of the site's scale group, 0 for none.
	Group int `json:"group,omitempty"`
	// Scale is the value of one quantisation step; 0 in a plan that has been
	// placed but not calibrated.
	Scale float32 `json:"scale"`
	// AbsMax is the largest magnitude seen in calibration.
	AbsMax float32 `json:"absmax"`
	Method string  `json:"method,omitempty"`
	// Clipped is the share of values beyond 127 scales, in 0..1.
	Clipped float64 `json:"clipped"`
	Why     string  `json:"why"`
}

// WeightSite is one constant quantised per output channel.
type WeightSite struct {
	Tensor string   `json:"tensor"`
	Nodes  []string `json:"nodes"`
	// Axis is the axis of Tensor that Scales runs along.
	Axis   int       `json:"axis"`
	Scales []float32 `json:"scales"`
}

// Skip is a layer that stays float.
type Skip struct {
	Node   string `json:"node"`
	Op     string `json:"op"`
	Reason string `json:"reason"`
}

// Group is a set of tensors between which only operators stand that commute
// with quantisation.
type Group struct {
	ID      int      `json:"id"`
	Tensors []string `json:"tensors"` // the sites of the group
	Via     []string `json:"via"`     // the operators that join them
}

// Equalisation divides the channels of a tensor by Factors for the convolutions
// that are its Readers, and multiplies their weights. The float model computes the
// same afterwards.
type Equalisation struct {
	Tensor  string    `json:"tensor"`
	Readers []string  `json:"readers"`
	Factors []float32 `json:"factors"`
}

// BiasCorrection is added to the bias of a layer to undo the mean error of its
// quantised weights.
type BiasCorrection struct {
	Node  string    `json:"node"`
	Delta []float32 `json:"delta"`
}

// LoadPlan reads a plan file. What is wrong in it comes back as a
// fault.BadInput error that names the file and the entry.
func LoadPlan(path string) (*Plan, error) {
	data, err := readPlanFile(path)
	if err != nil {
		return nil, err
	}
	p, err := ParsePlan(data)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read plan %s: %w", path, err))
	}
	return p, nil
}

func readPlanFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read plan: %w", err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPlanBytes+1))
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read plan %s: %w", path, err))
	}
	if len(data) > maxPlanBytes {
		return nil, fault.BadInput(fmt.Errorf("read plan %s: larger than %d MiB, which no plan is; give the .plan.json that calibrate wrote", path, maxPlanBytes>>20))
	}
	return data, nil
}

// ParsePlan reads a plan from JSON and validates it.
func ParsePlan(data []byte) (*Plan, error) {
	var p Plan
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return nil, fault.BadInput(describeJSON(data, err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.BadInput(fmt.Errorf("text after the closing brace at byte %d; remove it", d.InputOffset()))
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

// describeJSON turns a decoding error into one with a line number.
func describeJSON(data []byte, err error) error {
	offset := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return fmt.Errorf("not a plan: %w", err)
	}
	line := 1 + bytes.Count(data[:offset], []byte("\n"))
	return fmt.Errorf("not a plan: line %d: %w", line, err)
}

// Save writes the plan, one site, weight or skipped layer per line.
func (p *Plan) Save(path string) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("write plan %s: %w", path, err)
	}
	data, err := p.JSON()
	if err != nil {
		return fmt.Errorf("write plan %s: %w", path, err)
	}
	return atomicfile.Write(path, data)
}

// JSON is the plan as text: an object with one line per entry of its lists, so
// that a difference between two plans reads line by line.
func (p *Plan) JSON() ([]byte, error) {
	var b bytes.Buffer
	var failed error
	field := func(name string, value any) {
		text, err := marshal(value)
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(&b, "  %q: %s,\n", name, text)
	}
	b.WriteString("{\n")
	field("version", p.Version)
	field("model", p.Model)
	field("method", p.Method)
	field("options", p.Options)
	var lists []string
	add := func(name string, n int, entry func(i int) any) {
		rows := make([]string, n)
		for i := range rows {
			text, err := marshal(entry(i))
			if err != nil && failed == nil {
				failed = fmt.Errorf("%s entry %d: %w", name, i, err)
			}
			rows[i] = "    " + text
		}
		body := "[]"
		if n > 0 {
			body = "[\n" + strings.Join(rows, ",\n") + "\n  ]"
		}
		lists = append(lists, fmt.Sprintf("  %q: %s", name, body))
	}
	add("groups", len(p.Groups), func(i int) any { return p.Groups[i] })
	add("sites", len(p.Sites), func(i int) any { return p.Sites[i] })
	add("weights", len(p.Weights), func(i int) any { return p.Weights[i] })
	add("skipped", len(p.Skipped), func(i int) any { return p.Skipped[i] })
	if len(p.Equalised) > 0 {
		add("equalised", len(p.Equalised), func(i int) any { return p.Equalised[i] })
	}
	if len(p.Biases) > 0 {
		add("biases", len(p.Biases), func(i int) any { return p.Biases[i] })
	}
	b.WriteString(strings.Join(lists, ",\n"))
	b.WriteString("\n}\n")
	return b.Bytes(), failed
}

// marshal is json.Marshal without the escaping of < > & meant for web pages.
func marshal(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSpace(b.String()), err
}

// Validate reports the first entry that cannot be applied to any model, as a
// fault.BadInput error. A scale of 0 is allowed on activation sites only when
// all of them are 0 (placed, not yet calibrated).
func (p *Plan) Validate() error {
	return fault.BadInput(p.validate())
}

func (p *Plan) validate() error {
	if p.Version != PlanVersion {
		return fmt.Errorf("plan version %d, this program reads version %d; make the plan again with calibrate", p.Version, PlanVersion)
	}
	if err := p.Options.validate(); err != nil {
		return err
	}
	groups := map[int]bool{}
	for _, g := range p.Groups {
		if g.ID <= 0 || groups[g.ID] {
			return fmt.Errorf("group %d: the id must be positive and stand once", g.ID)
		}
		groups[g.ID] = true
	}
	calibrated := p.Calibrated()
	shared := map[int]float32{} // scale of each group
	seen := map[string]bool{}
	for i, s := range p.Sites {
		where := fmt.Sprintf("site %d, tensor %q", i, s.Tensor)
		switch {
		case s.Tensor == "":
			return fmt.Errorf("site %d has no tensor", i)
		case seen[s.Tensor]:
			return fmt.Errorf("%s stands twice; keep one", where)
		case len(s.Consumers) == 0:
			return fmt.Errorf("%s has no consumers; name the nodes or remove the line", where)
		case s.Group != 0 && !groups[s.Group]:
			return fmt.Errorf("%s: group %d is not in groups", where, s.Group)
		case calibrated && !goodScale(s.Scale):
			return fmt.Errorf("%s: scale %v; it must be a positive normal number", where, s.Scale)
		case s.AbsMax < 0 || !finite(s.AbsMax):
			return fmt.Errorf("%s: absmax %v", where, s.AbsMax)
		case !(s.Clipped >= 0 && s.Clipped <= 1):
			return fmt.Errorf("%s: clipped share %v is not within 0..1", where, s.Clipped)
		}
		if first, known := shared[s.Group]; s.Group != 0 && known && s.Scale != first {
			return fmt.Errorf("%s: scale %v, but its group %d has %v: a group has one scale; give all its sites the same, or this one group 0", where, s.Scale, s.Group, first)
		}
		shared[s.Group] = s.Scale
		seen[s.Tensor] = true
	}
	type weightKey struct {
		tensor string
		axis   int
	}
	weights := map[weightKey]bool{}
	for i, w := range p.Weights {
		where := fmt.Sprintf("weight %d, tensor %q", i, w.Tensor)
		switch {
		case w.Tensor == "":
			return fmt.Errorf("weight %d has no tensor", i)
		case weights[weightKey{w.Tensor, w.Axis}]:
			return fmt.Errorf("%s stands twice for axis %d; keep one", where, w.Axis)
		case len(w.Nodes) == 0:
			return fmt.Errorf("%s has no nodes", where)
		case w.Axis < 0:
			return fmt.Errorf("%s: axis %d", where, w.Axis)
		case len(w.Scales) == 0:
			return fmt.Errorf("%s has no scales", where)
		}
		for c, v := range w.Scales {
			if !goodScale(v) {
				return fmt.Errorf("%s: scale %v of channel %d; it must be a positive normal number", where, v, c)
			}
		}
		weights[weightKey{w.Tensor, w.Axis}] = true
	}
	for i, s := range p.Skipped {
		if s.Node == "" {
			return fmt.Errorf("skipped entry %d names no node", i)
		}
	}
	for i, e := range p.Equalised {
		if e.Tensor == "" || len(e.Readers) == 0 {
			return fmt.Errorf("equalised entry %d names no tensor or no reader", i)
		}
		for c, v := range e.Factors {
			if !goodScale(v) || v > 1e6 || v < 1e-6 {
				return fmt.Errorf("equalised %q: factor %v of channel %d; it must lie within 1e-6..1e6", e.Tensor, v, c)
			}
		}
	}
	for i, c := range p.Biases {
		if c.Node == "" {
			return fmt.Errorf("biases entry %d names no node", i)
		}
		for k, v := range c.Delta {
			if !finite(v) {
				return fmt.Errorf("biases %q: %v for channel %d", c.Node, v, k)
			}
		}
	}
	return nil
}

// Calibrated says whether the sites carry scales.
func (p *Plan) Calibrated() bool {
	for _, s := range p.Sites {
		if s.Scale != 0 {
			return true
		}
	}
	return false
}

// Clone is a deep copy.
func (p *Plan) Clone() *Plan {
	c := *p
	c.Options = p.Options.clone()
	c.Groups = cloneEach(p.Groups, func(g Group) Group {
		g.Tensors, g.Via = clone(g.Tensors), clone(g.Via)
		return g
	})
	c.Sites = cloneEach(p.Sites, func(s Site) Site { s.Consumers = clone(s.Consumers); return s })
	c.Weights = cloneEach(p.Weights, func(w WeightSite) WeightSite {
		w.Nodes, w.Scales = clone(w.Nodes), clone(w.Scales)
		return w
	})
	c.Skipped = clone(p.Skipped)
	c.Equalised = cloneEach(p.Equalised, func(e Equalisation) Equalisation {
		e.Readers, e.Factors = clone(e.Readers), clone(e.Factors)
		return e
	})
	c.Biases = cloneEach(p.Biases, func(b BiasCorrection) BiasCorrection { b.Delta = clone(b.Delta); return b })
	return &c
}

func clone[T any](s []T) []T { return append([]T(nil), s...) }

func cloneEach[T any](s []T, f func(T) T) []T {
	c := clone(s)
	for i := range c {
		c[i] = f(c[i])
	}
	return c
}

// Skip takes a node out of the plan, with the reason, and drops the sites and
// weights that no quantised node reads any more.
func (p *Plan) Skip(node, op, reason string) {
	for _, s := range p.Skipped {
		if s.Node == node {
			return
		}
	}
	p.Skipped = append(p.Skipped, Skip{node, op, reason})
	p.prune()
}

// prune removes skipped nodes from sites, weights and biases, and entries left empty.
func (p *Plan) prune() {
	out := map[string]bool{}
	for _, s := range p.Skipped {
		out[s.Node] = true
	}
	keep := func(nodes []string) []string {
		var kept []string
		for _, n := range nodes {
			if !out[n] {
				kept = append(kept, n)
			}
		}
		return kept
	}
	var sites []Site
	alive := map[string]bool{}
	for _, s := range p.Sites {
		if s.Consumers = keep(s.Consumers); len(s.Consumers) > 0 {
			sites = append(sites, s)
			alive[s.Tensor] = true
		}
	}
	var weights []WeightSite
	for _, w := range p.Weights {
		if w.Nodes = keep(w.Nodes); len(w.Nodes) > 0 {
			weights = append(weights, w)
		}
	}
	biases := slices.DeleteFunc(p.Biases, func(b BiasCorrection) bool { return out[b.Node] })
	var groups []Group
	gone := map[int]bool{}
	for _, g := range p.Groups {
		var tensors []string
		for _, t := range g.Tensors {
			if alive[t] {
				tensors = append(tensors, t)
			}
		}
		if g.Tensors = tensors; len(tensors) > 1 {
			groups = append(groups, g)
		} else {
			gone[g.ID] = true
		}
	}
	for i := range sites {
		if gone[sites[i].Group] {
			sites[i].Group = 0
		}
	}
	p.Sites, p.Weights, p.Groups, p.Biases = sites, weights, groups, biases
}

func finite(v float32) bool {
	return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0)
}

func goodScale(v float32) bool { return finite(v) && v >= MinScale }
