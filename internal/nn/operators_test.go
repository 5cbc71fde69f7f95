package nn

//go:generate go test -run ^TestOperators$ -update .

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"

	"trtact/internal/atomicfile"
	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
	"trtact/internal/onnx/nodetest"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

var update = flag.Bool("update", false, "write docs/operators.md instead of comparing with it")

// openLevel opens the CPU library of one instruction set, "v3" or "v4". The test
// skips where the processor lacks it.
func openLevel(t testing.TB, level string) *compute.Device {
	t.Helper()
	if level == "v4" && !cpu.X86.HasAVX512F {
		t.Skip("skipped: this processor has no AVX-512")
	}
	testenv.Libraries(t)
	d, err := compute.Open(filepath.Join(os.Getenv("TRTACT_LIB"), "libtrtact_cpu_"+level+".so"), 0)
	if err != nil {
		t.Fatal(err)
	}
	others := d.Live()
	t.Cleanup(func() {
		if n := d.Live(); n != others {
			t.Errorf("%d devices, buffers and operators alive at the end, %d at the start", n, others)
		}
		d.Close()
	})
	return d
}

// openBest opens the CPU library for this processor.
func openBest(t testing.TB) *compute.Device {
	t.Helper()
	if cpu.X86.HasAVX512F {
		return openLevel(t, "v4")
	}
	return openLevel(t, "v3")
}

// supported tells whether every operator of a graph is one of ours.
func supported(g *onnx.Graph) bool {
	return !slices.ContainsFunc(g.Nodes, func(n *onnx.Node) bool {
		return lowerings[n.Op] == nil && !host.Supports(n.Op, n.Domain) && !host.HasReference(n.Op, n.Domain)
	})
}

// form is one way of running a case.
type form struct {
	constants  bool // all inputs but the first are constants, as in a detector
	simplified bool
}

var forms = []form{{false, false}, {true, false}, {false, true}, {true, true}}

// runCase runs one data set of a case and compares. where is told each node that
// ran and whether the device or the host computed it.
func runCase(d *compute.Device, m *onnx.Model, set nodetest.Data, f form, where func(op string, device bool)) error {
	n := m.Clone()
	sizes := map[string][]int{}
	feed := map[string]*onnx.Tensor{}
	n.Graph.Inputs = nil
	for i, v := range m.Graph.Inputs {
		if f.constants && i > 0 {
			n.Graph.Init[v.Name] = set.Inputs[i].Clone()
			continue
		}
		n.Graph.Inputs = append(n.Graph.Inputs, v)
		sizes[v.Name] = set.Inputs[i].Dims
		feed[v.Name] = set.Inputs[i]
	}
	if err := shape.Infer(n, sizes); err != nil {
		return err
	}
	if f.simplified {
		if _, err := simplify.Run(n); err != nil {
			return err
		}
	}
	got, steps, err := evaluate(d, n, feed, Options{})
	if err != nil {
		return err
	}
	ops := map[string]string{}
	for _, node := range n.Graph.Nodes {
		ops[node.Name] = node.Op
	}
	for _, s := range steps {
		if op := ops[s.Node]; op != "" && s.Op != "upload" {
			where(op, s.Where != "host")
		}
	}
	for i, o := range m.Graph.Outputs {
		if err := nodetest.Compare(m, got[o.Name], set.Outputs[i]); err != nil {
			return fmt.Errorf("output %d: %w", i, err)
		}
	}
	return nil
}

// evaluate compiles a model with shapes, runs it once and gives all outputs and
// the tensors of o.Outputs.
func evaluate(d *compute.Device, m *onnx.Model, feed map[string]*onnx.Tensor, o Options) (map[string]*onnx.Tensor, []Step, error) {
	n, err := Compile(m, d, o)
	if err != nil {
		return nil, nil, err
	}
	defer n.Close()
	c, err := n.NewContext()
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if err := c.SetInputs(feed); err != nil {
		return nil, nil, err
	}
	if err := c.Run(); err != nil {
		return nil, nil, err
	}
	out := map[string]*onnx.Tensor{}
	names := slices.Clone(o.Outputs)
	for _, v := range m.Graph.Outputs {
		names = append(names, v.Name)
	}
	for _, name := range names {
		if out[name], err = c.Output(name); err != nil {
			return nil, nil, err
		}
	}
	return out, n.Steps(), nil
}

// tally is what ONNX's tests say of one operator.
type tally struct {
	passed, total int
	device        bool // some case ran there
}

// runOperators runs all cases in all forms and reports what fails unexpectedly.
func runOperators(t *testing.T, d *compute.Device) map[string]*tally {
	t.Helper()
	tallies := map[string]*tally{}
	passed, refusals, unsupported, outOfScope := 0, 0, 0, 0
	for _, c := range nodetest.Cases(t) {
		m, sets, err := c.Load()
		if errors.Is(err, nodetest.ErrOutOfScope) {
			outOfScope++
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if !supported(m.Graph) {
			unsupported++
			continue
		}
		ops := map[string]*tally{}
		for _, n := range m.Graph.Nodes {
			if tallies[n.Op] == nil {
				tallies[n.Op] = &tally{}
			}
			ops[n.Op] = tallies[n.Op]
		}
		where := func(op string, device bool) {
			if s := ops[op]; s != nil {
				s.device = s.device || device
			}
		}
		var failure error
		for _, f := range forms {
			for _, set := range sets {
				if err := runCase(d, m, set, f, where); err != nil {
					failure = fmt.Errorf("constants %v, simplified %v: %w", f.constants, f.simplified, err)
				}
			}
		}
		reason, expected := refused[c.Name]
		for _, s := range ops {
			s.total++
			if failure == nil {
				s.passed++
			}
		}
		switch {
		case failure == nil && expected:
			t.Errorf("%s passes, though listed as refused: %s", c.Name, reason)
		case failure == nil:
			passed++
		case expected:
			refusals++
			t.Logf("refused: %s: %s (%v)", c.Name, reason, failure)
		default:
			t.Errorf("%s: %v", c.Name, failure)
		}
	}
	t.Logf("%s: %d passed, %d refused, %d of operators that are not supported, %d out of scope",
		d.Version(), passed, refusals, unsupported, outOfScope)
	if passed < 400 {
		t.Errorf("only %d cases passed", passed)
	}
	return tallies
}

// TestOperators runs ONNX's own tests of every operator that is supported here
// through the whole path: load, infer shapes, with and without simplification,
// compile, run. docs/operators.md is its result; -update writes it.
func TestOperators(t *testing.T) {
	tallies := runOperators(t, openBest(t))
	for op := range lowerings {
		if s := tallies[op]; (s == nil || !s.device) && notShown[op] == "" {
			t.Errorf("%s: the device has this operator, but no case ran there", op)
		}
	}
	if t.Failed() {
		return
	}
	path := filepath.Join(testenv.Root(), "docs", "operators.md")
	want := operatorsPage(tallies)
	if *update || os.Getenv("TRTACT_UPDATE_SNAPSHOTS") == "1" {
		if err := atomicfile.Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/operators.md is stale: run `make docs`")
	}
}

// notShown are operators of the device that ONNX's tests do not show there.
var notShown = map[string]string{
	"Identity": alias, "Dropout": alias, "Reshape": alias, "Flatten": alias, "Squeeze": alias, "Unsqueeze": alias,
	"QuantizeLinear":   "the cases are asymmetric or 8-bit unsigned; symmetric INT8 is proven against onnxruntime",
	"DequantizeLinear": "the cases are asymmetric or 8-bit unsigned; symmetric INT8 is proven against onnxruntime",
	"Silu":             "not an operator of ONNX",
}

const alias = "takes no step: another view of the same memory"

// operatorsPage is the text of docs/operators.md.
func operatorsPage(tallies map[string]*tally) string {
	var b strings.Builder
	b.WriteString(operatorsIntroduction)
	b.WriteString("\n| Operator | Runs on | Cases passed |\n|---|---|---|\n")
	for _, op := range slices.Sorted(maps.Keys(tallies)) {
		s := tallies[op]
		onHost := host.Supports(op, "") || host.HasReference(op, "")
		where := "host"
		switch {
		case lowerings[op] != nil && onHost:
			where = "device, else host"
		case lowerings[op] != nil:
			where = "device"
		}
		fmt.Fprintf(&b, "| %s | %s | %d of %d |\n", op, where, s.passed, s.total)
	}
	b.WriteString("\n## Refused cases\n\n| Case | Why |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		fmt.Fprintf(&b, "| %s | %s |\n", strings.TrimPrefix(name, "test_"), refused[name])
	}
	return b.String()
}

const operatorsIntroduction = `# Operators

Which operators of ONNX the executor runs, where, and what ONNX's own operator
tests (the Python package onnx, version 1.17) say of each. A case counts for
every operator in its graph. It has passed when all its data came out right four
times: with all inputs given at run time and with all but the first as constants,
each with and without simplification. The same cases run on the AVX2 and on the
AVX-512 library.

*Device* is the compute backend. An operator on other types than float32, or in
a form that the backend does not have, is computed on the *host*, in Go: right,
but slow. A model with any other operator is refused when it is compiled, by the
node's name.

Besides these, the device has the fused activations SiLU, HardSwish, Mish and
GELU, which are recognised where a graph spells them out; and a QuantizeLinear
and DequantizeLinear pair of symmetric INT8 is computed as an INT8 engine does.

This page is written by the test that checks it: ` + "`make docs`" + `.
`

// TestOperatorsAVX2 does the same with the library for processors without
// AVX-512, and with oneDNN held to AVX2. oneDNN reads that setting once in a
// process, so the test runs in one of its own.
func TestOperatorsAVX2(t *testing.T) {
	inAVX2(t, func(d *compute.Device) { runOperators(t, d) })
}

// inAVX2 runs a test's body on the AVX2 library in a process of its own.
func inAVX2(t *testing.T, body func(d *compute.Device)) {
	t.Helper()
	const variable = "ONEDNN_MAX_CPU_ISA"
	if os.Getenv(variable) == "AVX2" {
		body(openLevel(t, "v3"))
		return
	}
	testenv.Python(t)
	testenv.Libraries(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=AVX2")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// refused are the cases that the executor does not pass, and why.
var refused = map[string]string{
	"test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": "the expected average counts places beyond the padding; onnxruntime, as this program, does not",
	"test_resize_downsample_scales_linear_align_corners":                           fraction,
	"test_resize_downsample_scales_cubic_align_corners":                            fraction,

	"test_batchnorm_epsilon_training_mode": trainingMode, "test_batchnorm_example_training_mode": trainingMode,
	"test_training_dropout": trainingMode, "test_training_dropout_default": trainingMode,
	"test_training_dropout_default_mask": trainingMode, "test_training_dropout_mask": trainingMode,

	"test_cast_BFLOAT16_to_FLOAT": bits, "test_cast_FLOAT_to_BFLOAT16": bits,
	"test_castlike_BFLOAT16_to_FLOAT": bits, "test_castlike_BFLOAT16_to_FLOAT_expanded": bits,
	"test_castlike_FLOAT_to_BFLOAT16": bits, "test_castlike_FLOAT_to_BFLOAT16_expanded": bits,

	"test_dequantizelinear_blocked": blocked, "test_quantizelinear_blocked_asymmetric": blocked,
	"test_quantizelinear_blocked_symmetric": blocked,

	"test_einsum_batch_diagonal": "an equation with an ellipsis is not handled",
}

const (
	fraction     = "the expected positions come from a fractional output size; onnxruntime uses the rounded one, and so does this program"
	trainingMode = "training mode is not handled"
	bits         = "the file holds bfloat16 numbers as uint16"
	blocked      = "blocked quantisation is not handled"
)
