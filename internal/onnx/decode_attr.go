package onnx

import (
	"errors"
	"fmt"

	"trtact/internal/onnx/onnxpb"
)

func (d *decoder) attributes(n *Node, attrs []*onnxpb.AttributeProto, depth int) error {
	if len(attrs) == 0 {
		return nil
	}
	n.Attrs = make(map[string]Attr, len(attrs))
	for _, a := range attrs {
		name := a.GetName()
		if name == "" {
			return errors.New("an attribute has no name")
		}
		if n.Has(name) {
			return fmt.Errorf("there are two attributes %s", quoted(name))
		}
		v, err := d.attribute(a, depth)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", quoted(name), err)
		}
		n.Attrs[name] = v
	}
	return nil
}

func (d *decoder) attribute(a *onnxpb.AttributeProto, depth int) (Attr, error) {
	if a.GetRefAttrName() != "" {
		return nil, errors.New("it refers to an attribute of a function, and there is none around it")
	}
	kind := a.GetType()
	if kind == onnxpb.AttributeProto_UNDEFINED {
		kind = kindByField(a)
	}
	switch kind {
	case onnxpb.AttributeProto_FLOAT:
		return a.GetF(), nil
	case onnxpb.AttributeProto_INT:
		return a.GetI(), nil
	case onnxpb.AttributeProto_STRING:
		return string(a.GetS()), nil
	case onnxpb.AttributeProto_TENSOR:
		if a.T == nil {
			return nil, errors.New("its tensor is missing")
		}
		return asAttr(d.tensor(a.T))
	case onnxpb.AttributeProto_GRAPH:
		if a.G == nil {
			return nil, errors.New("its graph is missing")
		}
		return asAttr(d.graph(a.G, depth+1))
	case onnxpb.AttributeProto_FLOATS:
		return append([]float32{}, a.Floats...), nil
	case onnxpb.AttributeProto_INTS:
		return append([]int64{}, a.Ints...), nil
	case onnxpb.AttributeProto_STRINGS:
		list := make([]string, len(a.Strings))
		for i, s := range a.Strings {
			list[i] = string(s)
		}
		return list, nil
	}
	return nil, fmt.Errorf("values of kind %s are not read", kind)
}

// asAttr keeps a nil pointer from becoming an Attr that is not nil.
func asAttr[T any](v *T, err error) (Attr, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// kindByField tells an attribute's kind in files from before it was written
// down: by the field that is filled.
func kindByField(a *onnxpb.AttributeProto) onnxpb.AttributeProto_AttributeType {
	switch {
	case a.F != nil:
		return onnxpb.AttributeProto_FLOAT
	case a.I != nil:
		return onnxpb.AttributeProto_INT
	case a.S != nil:
		return onnxpb.AttributeProto_STRING
	case a.T != nil:
		return onnxpb.AttributeProto_TENSOR
	case a.G != nil:
		return onnxpb.AttributeProto_GRAPH
	case len(a.Floats) > 0:
		return onnxpb.AttributeProto_FLOATS
	case len(a.Ints) > 0:
		return onnxpb.AttributeProto_INTS
	case len(a.Strings) > 0:
		return onnxpb.AttributeProto_STRINGS
	}
	return onnxpb.AttributeProto_UNDEFINED
}

// widenAttributes makes attributes that name half precision name float32, so
// that what was widened is not narrowed again within the graph.
func (d *decoder) widenAttributes(n *Node) {
	if n.Domain != "" {
		return
	}
	for _, name := range [...]string{"to", "dtype", "output_dtype", "output_datatype", "stash_type"} {
		v, ok := n.Attrs[name].(int64)
		if !ok || widened(DType(v)) == DType(v) {
			continue
		}
		n.Attrs[name] = int64(Float)
		d.float16 = true
	}
}

// constantValue is what a Constant node holds, in whichever of its forms.
func constantValue(n *Node) (*Tensor, error) {
	if len(n.Inputs) != 0 || len(n.Outputs) != 1 || len(n.Attrs) != 1 {
		return nil, fmt.Errorf("a Constant has no input, one output and one value, this one has %d, %d and %d",
			len(n.Inputs), len(n.Outputs), len(n.Attrs))
	}
	for name, v := range n.Attrs {
		switch v := v.(type) {
		case *Tensor:
			if name == "value" {
				return v, nil
			}
		case float32:
			if name == "value_float" {
				return Scalar(v), nil
			}
		case int64:
			if name == "value_int" {
				return Scalar(v), nil
			}
		case string:
			if name == "value_string" {
				return Scalar(v), nil
			}
		case []float32:
			if name == "value_floats" {
				return Vector(v...), nil
			}
		case []int64:
			if name == "value_ints" {
				return Vector(v...), nil
			}
		case []string:
			if name == "value_strings" {
				return Vector(v...), nil
			}
		}
		return nil, fmt.Errorf("attribute %s is none of a Constant's values", quoted(name))
	}
	return nil, errors.New("it has no value")
}
