package trt

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// part is one plan as TensorRT for RTX 1.7 writes it, shortened.
func part(lines ...string) string {
	return "\x00\x05NLYM\xc1\x00 header {\n  version = 5\n}\ndescriptors {\n  " + strings.Join(lines, "\n  ") + "\n}\n\x00\x01"
}

func tensor(name, typ string) string {
	return `tensor={ alignment=128 dims={ 1 16 1 1 } name="` + name + `" offset=197 strides={ 16 1 } type=` + typ + ` }`
}

func conv(input, weights string) string {
	return `corrltn={ name="model.1/Conv" output={"y" } input={"` + input + `" "` + weights + `" "bias" } stream=0 layers="[ONNX Layer: c]" }`
}

func matrixProduct(weights, input, origin string) string {
	return `fully_connected={ name="p" output={"y" } input={"` + weights + `" "` + input + `" "alpha" } m=0 layers="[ONNX Layer: c]` + origin + `" }`
}

func TestPlannedConvolutions(t *testing.T) {
	x, q, w := tensor("x", "float"), tensor("q", "int8"), tensor("w", "int8")
	for _, c := range []struct {
		name   string
		engine string
		want   *Convolutions
	}{
		{"INT8 and float", part(x, q, w, conv("q", "w"), conv("x", "x")), &Convolutions{1, 2}},
		{"INT8 weights alone", part(x, w, conv("x", "w")), &Convolutions{0, 1}},
		{"transposed", part(q, w, strings.Replace(conv("q", "w"), "corrltn", "deconvolution", 1)), &Convolutions{1, 1}},
		{"1x1 as a product", part(x, q, w, matrixProduct("w", "q", "__gemm_from_conv1x1"), matrixProduct("x", "x", "__gemm_from_conv1x1")), &Convolutions{1, 2}},
		{"a product of its own", part(q, w, conv("q", "w"), matrixProduct("w", "q", "")), &Convolutions{1, 1}},
		{"part of a tensor", part("sub_"+q, w, conv("q", "w")), &Convolutions{1, 1}},
		{"several parts with the same names", part(q, w, conv("q", "w")) + part(tensor("q", "half"), tensor("w", "half"), conv("q", "w")), &Convolutions{1, 2}},
		{"name with braces", part(tensor("a } type=int8 }", "half"), w, conv("a } type=int8 }", "w")), &Convolutions{0, 1}},
		{"a tensor of another part", part(q) + part(w, conv("q", "w")), nil},
		{"undeclared tensor", part(q, conv("q", "w")), nil},
		{"inputs in another form", part(q, w, `corrltn={ name="c" inputs=[q w] }`), nil},
		{"cut", part(q, w, conv("q", "w")[:54]), nil},
		{"other operators only", part(q, `maxpool={ name="p" input={"q" } }`), nil},
		{"no header", strings.Replace(part(q, w, conv("q", "w")), "header", "heading", 1), nil},
		{"no plan", "ftrt\x00\x00\x01\n\n\n", nil},
		{"empty", "", nil},
	} {
		got := plannedConvolutions([]byte(c.engine))
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// processorTime is what this process has used, which a busy machine does not make longer.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// Bytes made to be slow to read are not.
func TestPlannedConvolutionsOfHostileBytes(t *testing.T) {
	const size = 8 << 20
	start := processorTime(t)
	for _, again := range []string{"\n", "\x00", "header {", "header {\n", "tensor={ ", "tensor={ \n", ` name="`, "corrltn={ \n", ` input={"`} {
		plannedConvolutions([]byte(part(tensor("x", "int8")) + strings.Repeat(again, size/len(again))))
		plannedConvolutions([]byte("header {\n  tensor={ " + strings.Repeat(again, size/len(again))))
		plannedConvolutions([]byte("header {\n  corrltn={ " + strings.Repeat(again, size/len(again))))
	}
	if spent := processorTime(t) - start; spent > 30*time.Second {
		t.Errorf("%v for %d times %d bytes", spent, 27, size)
	}
}
