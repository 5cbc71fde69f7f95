package host_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
	"trtact/internal/onnx/nodetest"
)

// refused are ONNX's tests that a supported operator does not pass, and why.
var refused = map[string]string{
	"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": overhang,
	"test_resize_downsample_scales_linear_align_corners":                           fraction,
	"test_resize_downsample_scales_cubic_align_corners":                            fraction,

	"test_batchnorm_epsilon_training_mode": training, "test_batchnorm_example_training_mode": training,
	"test_training_dropout": training, "test_training_dropout_default": training,
	"test_training_dropout_default_mask": training, "test_training_dropout_mask": training,

	"test_cast_BFLOAT16_to_FLOAT": bits, "test_cast_FLOAT_to_BFLOAT16": bits, "test_castlike_BFLOAT16_to_FLOAT": bits,
	"test_castlike_BFLOAT16_to_FLOAT_expanded": bits, "test_castlike_FLOAT_to_BFLOAT16": bits,
	"test_castlike_FLOAT_to_BFLOAT16_expanded": bits,

	"test_dequantizelinear_blocked": blocked, "test_quantizelinear_blocked_asymmetric": blocked,
	"test_quantizelinear_blocked_symmetric": blocked,

	"test_einsum_batch_diagonal": "an equation with an ellipsis is not handled",
}

const (
	overhang = "the expected average counts places beyond the padding; onnxruntime, as this program, does not"
	fraction = "the expected positions come from a fractional output size; onnxruntime, as this program, uses the rounded one"
	training = "training mode of the operator is not handled"
	bits     = "the file holds bfloat16 numbers as uint16"
	blocked  = "blocked quantisation is not handled"
)

// evaluate runs a graph node by node; ok is false where an operator is not
// evaluated here.
func evaluate(m *onnx.Model, in []*onnx.Tensor) (out []*onnx.Tensor, ok bool, err error) {
	values := maps.Clone(m.Graph.Init)
	for i, v := range m.Graph.Inputs {
		values[v.Name] = in[i]
	}
	for _, n := range m.Graph.Nodes {
		operands := make([]*onnx.Tensor, len(n.Inputs))
		for i, name := range n.Inputs {
			operands[i] = values[name]
		}
		f := host.Eval
		if !host.Supports(n.Op, n.Domain) {
			if !host.HasReference(n.Op, n.Domain) {
				return nil, false, nil
			}
			f = host.Reference
		}
		results, err := f(n, m.Opset, operands)
		if err != nil {
			return nil, true, err
		}
		for i, name := range n.Outputs {
			if i < len(results) {
				values[name] = results[i]
			}
		}
	}
	for _, o := range m.Graph.Outputs {
		out = append(out, values[o.Name])
	}
	return out, true, nil
}

// ONNX's own tests of every operator that is evaluated here.
func TestNodes(t *testing.T) {
	type count struct{ passed, refused, outOfScope int }
	counts := map[string]*count{}
	total := count{}
	unsupported := 0
	for _, c := range nodetest.Cases(t) {
		m, sets, err := c.Load()
		if errors.Is(err, nodetest.ErrOutOfScope) {
			total.outOfScope++
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		ops := map[string]bool{}
		for _, n := range m.Graph.Nodes {
			ops[n.Op] = true
		}
		var failure error
		known := true
		for _, set := range sets {
			out, ok, err := evaluate(m, set.Inputs)
			if known = ok; !ok {
				break
			}
			if failure = err; err != nil {
				break
			}
			for i, want := range set.Outputs {
				if err := nodetest.Compare(m, out[i], want); err != nil {
					failure = fmt.Errorf("output %d: %w", i, err)
				}
			}
		}
		if !known {
			unsupported++
			continue
		}
		op := strings.Join(slices.Sorted(maps.Keys(ops)), "+")
		if counts[op] == nil {
			counts[op] = &count{}
		}
		reason, expected := refused[c.Name]
		switch {
		case failure == nil && expected:
			t.Errorf("%s passes, though listed as refused: %s", c.Name, reason)
		case failure == nil:
			counts[op].passed++
			total.passed++
		case expected:
			counts[op].refused++
			total.refused++
			t.Logf("refused: %s: %s (%v)", c.Name, reason, failure)
		default:
			t.Errorf("%s: %v", c.Name, failure)
		}
	}
	var table strings.Builder
	for _, op := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&table, "%-40s %3d passed %3d refused\n", op, counts[op].passed, counts[op].refused)
	}
	t.Logf("%d passed, %d refused, %d of operators not evaluated here, %d out of scope\n%s",
		total.passed, total.refused, unsupported, total.outOfScope, table.String())
	if total.passed < 400 {
		t.Errorf("only %d cases ran", total.passed)
	}
}
