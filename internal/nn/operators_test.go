package nn

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"

	"trtact/internal/compute"
	"trtact/internal/onnx"
	"trtact/internal/onnx/host"
	"trtact/internal/onnx/nodetest"
	"trtact/internal/onnx/shape"
	"trtact/internal/onnx/simplify"
	"trtact/internal/testenv"
)

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
	t.Cleanup(func() { d.Close() })
	return d
}

// supported tells whether every operator of a graph is one of ours.
func supported(g *onnx.Graph) bool {
	return !slices.ContainsFunc(g.Nodes, func(n *onnx.Node) bool {
		return lowerings[n.Op] == nil && !host.Supports(n.Op, n.Domain)
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
	for name, t := range feed {
		if err := c.SetTensor(name, t); err != nil {
			return nil, nil, err
		}
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
	device, host  bool
	refused       map[string]string // case: reason
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
				tallies[n.Op] = &tally{refused: map[string]string{}}
			}
			ops[n.Op] = tallies[n.Op]
		}
		where := func(op string, device bool) {
			if s := ops[op]; s != nil {
				s.device = s.device || device
				s.host = s.host || !device
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
			} else {
				s.refused[c.Name] = reason
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
// compile, run.
func TestOperators(t *testing.T) {
	tallies := runOperators(t, openLevel(t, "v4"))
	_ = maps.Keys(tallies)
	_ = strings.Builder{}
}

// TestOperatorsAVX2 does the same with the library for processors without
// AVX-512, and with oneDNN held to AVX2. oneDNN reads that setting once in a
// process, so the test runs in one of its own.
func TestOperatorsAVX2(t *testing.T) {
	const variable = "ONEDNN_MAX_CPU_ISA"
	if os.Getenv(variable) == "AVX2" {
		runOperators(t, openLevel(t, "v3"))
		return
	}
	testenv.Python(t)
	testenv.Libraries(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestOperatorsAVX2$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=AVX2")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

var refused = map[string]string{}
