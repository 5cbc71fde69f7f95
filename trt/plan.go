package trt

// Which convolutions an engine runs in INT8, found out from its bytes.
//
// Q/DQ nodes ask for INT8; whether TensorRT grants it is another matter. Asking
// it (the engine inspector) needs a GPU. But TensorRT for RTX keeps what it plans
// to run in the engine as text, in parts that each begin with a header:
//
//	header {
//	...
//	  tensor={ ... name="x" ... type=int8 }
//	...
//	  corrltn={ name="conv" output={"y" } input={"x" "weights" ... } ... }
//
// A 1x1 convolution may also be a matrix product, "fully_connected", that says so.
//
// That form is nowhere promised. So what is not as expected makes the answer
// unknown, never zero. Names in it are the model's, which can at worst make the
// count of its own engine wrong.

import (
	"bytes"
	"regexp"
)

// Convolutions counts those of an engine, transposed ones included.
type Convolutions struct {
	INT8 int `json:"int8"` // input and weights are INT8
	All  int `json:"all"`
}

var (
	planHeader  = []byte("header {")
	planTensor  = regexp.MustCompile(`^(?:sub_)?tensor=\{ .* name="([^"]*)".* type=(\w+) \}$`) // also a part of another
	convOperand = regexp.MustCompile(` input=\{ ?"([^"]*)" "([^"]*)"`)
)

func isPlannedConvolution(line []byte) bool {
	return bytes.HasPrefix(line, []byte("corrltn={ ")) || bytes.HasPrefix(line, []byte("deconvolution={ ")) ||
		bytes.HasPrefix(line, []byte("fully_connected={ ")) && bytes.Contains(line, []byte(`__gemm_from_conv1x1"`))
}

// plannedConvolutions reads an engine's plans. The result is nil where they
// cannot be told, as in an engine of TensorRT proper.
func plannedConvolutions(engine []byte) *Convolutions {
	var count Convolutions
	var types map[string]string // of the present part's tensors by name; nil before the first
	for line := range bytes.Lines(engine) {
		line = bytes.TrimSpace(line)
		switch {
		case bytes.HasSuffix(line, planHeader): // other bytes stand before it
			types = map[string]string{}
		case types == nil:
		case isPlannedConvolution(line):
			m := convOperand.FindSubmatch(line)
			if m == nil {
				return nil
			}
			input, weights := types[string(m[1])], types[string(m[2])]
			if input == "" || weights == "" {
				return nil
			}
			count.All++
			if input == "int8" && weights == "int8" {
				count.INT8++
			}
		default:
			if m := planTensor.FindSubmatch(line); m != nil {
				types[string(m[1])] = string(m[2])
			}
		}
	}
	if count.All == 0 { // a plan of another form, or no convolution to count
		return nil
	}
	return &count
}
