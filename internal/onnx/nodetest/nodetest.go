// Package nodetest reads ONNX's own operator tests: one-node models with inputs
// and the outputs they have to give. Whatever computes operators here (the host,
// the compute backends) is tested against the same cases.
package nodetest

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/testenv"
)

// Case is one test: a folder with a model and data sets.
type Case struct {
	Name string // "test_add_bcast"
	Dir  string
}

// Data is one set of inputs, in the order of the model's graph inputs, and the
// outputs that belong to them.
type Data struct {
	Inputs, Outputs []*onnx.Tensor
}

// ErrOutOfScope is wrapped by errors of Load that say that a case is about
// something that this program does not read at all: sequences, optional values,
// complex or 8-bit floating point numbers, operator sets outside 7 to 22.
var ErrOutOfScope = errors.New("out of scope")

// Cases lists all tests of the installed Python package onnx. The test skips
// where it is missing.
func Cases(t testing.TB) []Case {
	t.Helper()
	root := testenv.NodeTests(t)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var list []Case
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if _, err := os.Stat(filepath.Join(dir, "model.onnx")); err == nil {
			list = append(list, Case{e.Name(), dir})
		}
	}
	return list
}

// Load reads a case.
func (c Case) Load() (*onnx.Model, []Data, error) {
	m, err := onnx.Load(filepath.Join(c.Dir, "model.onnx"))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOutOfScope, err)
	}
	sets, err := filepath.Glob(filepath.Join(c.Dir, "test_data_set_*"))
	if err != nil {
		return nil, nil, err
	}
	var list []Data
	for _, dir := range sets {
		in, err := tensors(dir, "input", len(m.Graph.Inputs))
		if err != nil {
			return nil, nil, err
		}
		out, err := tensors(dir, "output", len(m.Graph.Outputs))
		if err != nil {
			return nil, nil, err
		}
		list = append(list, Data{in, out})
	}
	if len(list) == 0 {
		return nil, nil, fmt.Errorf("%w: it has no data", ErrOutOfScope)
	}
	return m, list, nil
}

func tensors(dir, role string, n int) ([]*onnx.Tensor, error) {
	var list []*onnx.Tensor
	for i := range n {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%s_%d.pb", role, i)))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOutOfScope, err)
		}
		t, _, err := onnx.ParseTensor(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %s %d: %w", ErrOutOfScope, role, i, err)
		}
		list = append(list, t)
	}
	return list, nil
}

// The tolerances of ONNX's own test runner, and wider ones for cases whose
// expected values were rounded to half precision.
const (
	relative     = 1e-3
	absolute     = 1e-7
	relativeHalf = 2e-3
	absoluteHalf = 1e-3
)

// Compare tells how got differs from want in type, shape or value; nil if it
// does not. m is the case's model.
func Compare(m *onnx.Model, got, want *onnx.Tensor) error {
	if got == nil {
		return errors.New("there is no result")
	}
	if got.Type != want.Type {
		return fmt.Errorf("type %v, want %v", got.Type, want.Type)
	}
	if !slices.Equal(got.Dims, want.Dims) {
		return fmt.Errorf("shape %v, want %v", got.Dims, want.Dims)
	}
	if !want.Type.IsFloat() {
		if want.Len() > 0 && !reflect.DeepEqual(got.Data, want.Data) {
			return fmt.Errorf("values %v, want %v", got.Data, want.Data)
		}
		return nil
	}
	rtol, atol := relative, absolute
	if m.WasFloat16 {
		rtol, atol = relativeHalf, absoluteHalf
	}
	g, w := got.Floats(), want.Floats()
	for i := range w {
		a, b := float64(g[i]), float64(w[i])
		if a == b || math.IsNaN(a) && math.IsNaN(b) {
			continue
		}
		if d := math.Abs(a - b); !(d <= atol+rtol*math.Abs(b)) {
			return fmt.Errorf("element %d is %g, want %g", i, a, b)
		}
	}
	return nil
}
