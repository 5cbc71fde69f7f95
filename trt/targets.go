package trt

// GPUs that an INT8 engine of TensorRT for RTX cannot be for.
//
// An engine for several GPUs has one plan for all of them, and a convolution runs
// in it in a type that all of them have. So Turing, for which TensorRT for RTX
// (1.7) has no INT8 convolution, takes INT8 from every other GPU of the engine,
// without a word from TensorRT. TestRTXTuringTakesINT8 holds on to the fact.

import (
	"fmt"
	"slices"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// floatOnly is the compute capability for which TensorRT for RTX builds INT8
// convolutions as float ones.
const floatOnly = 75

// floatOnlyReason is a sentence for the version in use.
func floatOnlyReason(version string) string {
	return fmt.Sprintf("%s has no INT8 convolution for %s (T4, RTX 20) and runs it in float there; use TensorRT proper or a float16 engine for it",
		backendVersion(BackendRTX, version), TargetName(floatOnly))
}

// FloatOnly is why an INT8 engine of TensorRT for RTX for these targets runs in float,
// "" when it does not.
func FloatOnly(targets []int) string {
	if !slices.Equal(targets, []int{floatOnly}) {
		return ""
	}
	return fmt.Sprintf("TensorRT for RTX has no INT8 convolution for %s (T4, RTX 20): this engine will run in float; INT8 there needs TensorRT proper",
		TargetName(floatOnly))
}

// CheckINT8Targets is an error, a wrong use, when these targets in one engine of
// TensorRT for RTX would take INT8 from each other.
func CheckINT8Targets(targets []int) error {
	if len(targets) < 2 || !slices.Contains(targets, floatOnly) {
		return nil
	}
	return fault.Usage(fmt.Errorf("TensorRT for RTX has no INT8 convolution for %[1]s, and with it in one engine none for the other targets either: leave %[1]s out, or build an engine for it alone",
		TargetName(floatOnly)))
}

// hasINT8Convolution says whether a convolution of the model gets both input and
// weights through DequantizeLinear. A model that cannot be read, which is
// TensorRT's to explain, has none.
func hasINT8Convolution(model []byte) bool {
	m, err := onnx.Parse(model, "")
	if err != nil {
		return false
	}
	producer := m.Graph.Index().Producer
	dequantized := func(name string) bool {
		for range m.Graph.Nodes { // a bound where the graph has a cycle
			n := producer[name]
			switch {
			case n == nil || len(n.Inputs) == 0:
				return false
			case n.Op == "DequantizeLinear":
				return true
			case n.Op != "Cast" && n.Op != "Identity":
				return false
			}
			name = n.Inputs[0]
		}
		return false
	}
	return slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool {
		return n.Op == "Conv" && len(n.Inputs) > 1 && dequantized(n.Inputs[0]) && dequantized(n.Inputs[1])
	})
}
