package trt

import (
	"strings"
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

// Bytes made to be slow to read are not.
func TestPlannedConvolutionsOfHostileBytes(t *testing.T) {
	const size = 8 << 20
	start := time.Now()
	for _, again := range []string{"\n", "\x00", "header {", "header {\n", "tensor={ ", "tensor={ \n", ` name="`, "corrltn={ \n", ` input={"`} {
		plannedConvolutions([]byte(part(tensor("x", "int8")) + strings.Repeat(again, size/len(again))))
		plannedConvolutions([]byte("header {\n  tensor={ " + strings.Repeat(again, size/len(again))))
		plannedConvolutions([]byte("header {\n  corrltn={ " + strings.Repeat(again, size/len(again))))
	}
	if spent := time.Since(start); spent > 30*time.Second {
		t.Errorf("%v for %d times %d bytes", spent, 27, size)
	}
}
