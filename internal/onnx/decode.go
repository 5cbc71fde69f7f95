package onnx

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"trtact/internal/onnx/onnxpb"
)

// decoder turns the messages of one file into a Model.
type decoder struct {
	dir     string   // folder of external data, "" for none
	root    *os.Root // dir, once something in it was needed
	memory  int64    // bytes asked for tensors so far
	float16 bool     // the file has half precision somewhere
}

func (d *decoder) close() {
	if d.root != nil {
		d.root.Close()
	}
}

// quoted is a name for a message: on one line, and not longer than that.
func quoted(name string) string {
	const most = 120
	if len(name) > most {
		return strconv.Quote(name[:most]) + "..."
	}
	return strconv.Quote(name)
}

// normal is the domain of an operator set: the default one has two names.
func normal(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

func (d *decoder) model(pb *onnxpb.ModelProto) (*Model, error) {
	if len(pb.Functions) > 0 {
		f := pb.Functions[0]
		return nil, fmt.Errorf("it defines operators of its own (function %s of domain %s), which are not read: inline them first (onnx.inliner) or export without functions",
			quoted(f.GetName()), quoted(f.GetDomain()))
	}
	m := &Model{IR: pb.GetIrVersion(), Producer: pb.GetProducerName()}
	if v := pb.GetProducerVersion(); v != "" {
		m.Producer += " " + v
	}
	if err := readOpsets(m, pb.OpsetImport); err != nil {
		return nil, err
	}
	for _, e := range pb.MetadataProps {
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		m.Metadata[e.GetKey()] = e.GetValue()
	}
	g, err := d.graph(pb.Graph, 0)
	if err != nil {
		return nil, err
	}
	for _, v := range g.Inputs {
		if v.Type == Undefined {
			return nil, fmt.Errorf("input %s has no element type", quoted(v.Name))
		}
	}
	m.Graph = g
	m.WasFloat16 = d.float16
	return m, nil
}

func readOpsets(m *Model, imports []*onnxpb.OperatorSetIdProto) error {
	for _, o := range imports {
		domain, version := normal(o.GetDomain()), o.GetVersion()
		if domain != "" {
			if m.Domains == nil {
				m.Domains = map[string]int{}
			}
			m.Domains[domain] = int(version)
			continue
		}
		if m.Opset != 0 && int64(m.Opset) != version {
			return fmt.Errorf("it names two versions of the operator set, %d and %d", m.Opset, version)
		}
		if version < MinOpset || version > MaxOpset {
			return fmt.Errorf("its operator set is version %d; %d to %d are read: export it again with opset 13", version, MinOpset, MaxOpset)
		}
		m.Opset = int(version)
	}
	if m.Opset == 0 {
		return fmt.Errorf("it does not name its version of ONNX's operator set; %d to %d are read: export it again with opset 13", MinOpset, MaxOpset)
	}
	return nil
}

func (d *decoder) graph(pb *onnxpb.GraphProto, depth int) (*Graph, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("its subgraphs lie deeper than %d within each other", maxDepth)
	}
	if len(pb.SparseInitializer) > 0 {
		return nil, fmt.Errorf("constant %s is a sparse tensor, which is not read: store it dense",
			quoted(pb.SparseInitializer[0].GetValues().GetName()))
	}
	g := &Graph{Name: pb.GetName(), Init: make(map[string]*Tensor, len(pb.Initializer)), Info: map[string]Value{}}
	for _, t := range pb.Initializer {
		name := t.GetName()
		if err := d.constant(g, name, t); err != nil {
			return nil, fmt.Errorf("constant %s: %w", quoted(name), err)
		}
	}
	for _, v := range pb.Input {
		value, err := d.value(v)
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", quoted(v.GetName()), err)
		}
		if g.Init[value.Name] == nil { // else a constant that older files list here too
			g.Inputs = append(g.Inputs, value)
		}
	}
	for _, v := range pb.Output {
		value, err := d.value(v)
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", quoted(v.GetName()), err)
		}
		g.Outputs = append(g.Outputs, value)
	}
	if err := d.nodes(g, pb.Node, depth); err != nil {
		return nil, err
	}
	if err := g.Sort(); err != nil {
		return nil, err
	}
	for _, values := range [][]Value{g.Inputs, g.Outputs} {
		for _, v := range values {
			g.Info[v.Name] = v.Clone()
		}
	}
	for name, t := range g.Init {
		g.Info[name] = t.Value(name)
	}
	return g, nil
}

// constant puts a tensor among the graph's constants.
func (d *decoder) constant(g *Graph, name string, pb *onnxpb.TensorProto) error {
	t, err := d.tensor(pb)
	if err != nil {
		return err
	}
	return addConstant(g, name, t)
}

func addConstant(g *Graph, name string, t *Tensor) error {
	if name == "" {
		return errors.New("it has no name")
	}
	if g.Init[name] != nil {
		return errors.New("there are two of that name")
	}
	g.Init[name] = t
	return nil
}

// nodes decodes the nodes; Constant nodes become constants of the graph.
func (d *decoder) nodes(g *Graph, nodes []*onnxpb.NodeProto, depth int) error {
	names := newNames(nodes)
	g.Nodes = make([]*Node, 0, len(nodes))
	for i, pb := range nodes {
		n := &Node{
			Name: names.unique(pb.GetName(), pb.GetOpType(), i), Op: pb.GetOpType(), Domain: normal(pb.GetDomain()),
			Inputs: pb.Input, Outputs: pb.Output,
		}
		if n.Op == "" {
			return fmt.Errorf("node %s has no operator", quoted(n.Name))
		}
		if err := d.attributes(n, pb.Attribute, depth); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		d.widenAttributes(n)
		if n.Op == "Constant" && n.Domain == "" {
			t, err := constantValue(n)
			if err == nil {
				err = addConstant(g, n.Output(0), t)
			}
			if err != nil {
				return fmt.Errorf("%s, output %s: %w", n, quoted(n.Output(0)), err)
			}
			continue
		}
		g.Nodes = append(g.Nodes, n)
	}
	return nil
}

// names gives nodes names of their own.
type names struct {
	taken map[string]bool
	next  map[string]int // for each name asked for, the number to try next
	used  map[string]bool
}

func newNames(nodes []*onnxpb.NodeProto) names {
	n := names{map[string]bool{}, map[string]int{}, map[string]bool{}}
	for _, pb := range nodes {
		n.taken[pb.GetName()] = true
	}
	return n
}

// unique is name for the first node that has it, name_1, name_2 for those
// after it, and for a node without a name its operator and place, Conv_12.
func (n names) unique(name, op string, place int) string {
	if name != "" && !n.used[name] {
		n.used[name] = true
		return name
	}
	if name == "" {
		name = op
		if _, begun := n.next[name]; !begun || n.next[name] < place {
			n.next[name] = place
		}
	} else if n.next[name] == 0 {
		n.next[name] = 1
	}
	for {
		candidate := name + "_" + strconv.Itoa(n.next[name])
		n.next[name]++
		if !n.taken[candidate] {
			n.taken[candidate] = true
			return candidate
		}
	}
}

// value decodes a tensor's description.
func (d *decoder) value(pb *onnxpb.ValueInfoProto) (Value, error) {
	v := Value{Name: pb.GetName()}
	if v.Name == "" {
		return v, errors.New("it has no name")
	}
	if pb.Type == nil || pb.Type.Value == nil {
		return v, nil
	}
	typ := pb.Type.GetTensorType()
	if typ == nil {
		return v, errors.New("it is a sequence, a map, an optional or a sparse tensor; only dense tensors are read")
	}
	stored := DType(typ.GetElemType())
	v.Type = widened(stored)
	if v.Type != stored {
		d.float16 = true
	}
	if typ.Shape == nil {
		return v, nil
	}
	if len(typ.Shape.Dim) > maxRank {
		return v, fmt.Errorf("it has %d dimensions, at most %d are read", len(typ.Shape.Dim), maxRank)
	}
	v.Dims = make([]int, len(typ.Shape.Dim))
	for i, dim := range typ.Shape.Dim {
		v.Dims[i] = Dynamic
		switch size := dim.Value.(type) {
		case *onnxpb.TensorShapeProto_Dimension_DimValue:
			if size.DimValue > maxDim {
				return v, fmt.Errorf("dimension %d has the impossible size %d", i, size.DimValue)
			}
			if size.DimValue >= 0 { // some exporters write -1 for a free size
				v.Dims[i] = int(size.DimValue)
			}
		case *onnxpb.TensorShapeProto_Dimension_DimParam:
			if v.Symbols == nil {
				v.Symbols = make([]string, len(v.Dims))
			}
			v.Symbols[i] = size.DimParam
		}
	}
	return v, nil
}
