package onnx

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"trtact/internal/onnx/onnxpb"
	"trtact/internal/testenv"
)

// modelWithExternal is y = x + w, w being two floats in another file.
func modelWithExternal(keys ...string) *onnxpb.ModelProto {
	return pbModel(func(m *onnxpb.ModelProto) {
		w := &onnxpb.TensorProto{
			Name: proto.String("w"), DataType: proto.Int32(int32(Float)), Dims: []int64{2},
			DataLocation: onnxpb.TensorProto_EXTERNAL.Enum(),
		}
		for i := 0; i < len(keys); i += 2 {
			w.ExternalData = append(w.ExternalData, &onnxpb.StringStringEntryProto{Key: proto.String(keys[i]), Value: proto.String(keys[i+1])})
		}
		m.Graph.Initializer = []*onnxpb.TensorProto{w}
		m.Graph.Node[0] = pbNode("Add", list("x", "w"), list("y"))
	})
}

func TestExternalData(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "model")
	weights, err := binary.Append(nil, binary.LittleEndian, []float32{9, 1.5, -2, 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []error{
		os.MkdirAll(filepath.Join(dir, "sub"), 0o700),
		os.WriteFile(filepath.Join(outside, "secret"), weights, 0o600),
		os.WriteFile(filepath.Join(dir, "w.bin"), weights, 0o600),
		os.WriteFile(filepath.Join(dir, "sub", "w.bin"), weights, 0o600),
		os.Symlink("w.bin", filepath.Join(dir, "inside")),
		os.Symlink("../secret", filepath.Join(dir, "out")),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "absolute")),
		os.Symlink("..", filepath.Join(dir, "updir")),
		os.Symlink("loop", filepath.Join(dir, "loop")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	} {
		if do != nil {
			t.Fatal(do)
		}
	}
	for _, c := range []struct {
		name string
		keys []string
		want string // "" for a model that is fine
	}{
		{"plain", []string{"location", "w.bin", "offset", "4", "length", "8"}, ""},
		{"no length", []string{"location", "w.bin", "offset", "4"}, ""},
		{"checksum", []string{"location", "w.bin", "offset", "4", "checksum", "da39a3ee"}, ""},
		{"in a folder", []string{"location", "sub/w.bin", "offset", "4"}, ""},
		{"dots that stay", []string{"location", "sub/../w.bin", "offset", "4"}, ""},
		{"link that stays", []string{"location", "inside", "offset", "4"}, ""},
		{"no entries", nil, "location is missing"},
		{"no location", []string{"offset", "4"}, "location is missing"},
		{"empty location", []string{"location", ""}, "location is missing"},
		{"dots", []string{"location", "../secret"}, "leaves the model's folder"},
		{"nested dots", []string{"location", "sub/../../secret"}, "leaves the model's folder"},
		{"dots in links", []string{"location", "updir/secret"}, "path escapes"},
		{"absolute", []string{"location", filepath.Join(outside, "secret")}, "leaves the model's folder"},
		{"link out", []string{"location", "out"}, "path escapes"},
		{"absolute link out", []string{"location", "absolute"}, "path escapes"},
		{"link to itself", []string{"location", "loop"}, "too many"},
		{"folder", []string{"location", "sub"}, "not a regular file"},
		{"pipe", []string{"location", "pipe"}, "not a regular file"},
		{"missing", []string{"location", "none.bin"}, "file does not exist"},
		{"zero byte", []string{"location", "w.bin\x00"}, "external data"},
		{"unknown key", []string{"location", "w.bin", "basepath", "/"}, `the key "basepath" is none of`},
		{"key twice", []string{"location", "w.bin", "location", "../secret"}, "comes twice"},
		{"negative offset", []string{"location", "w.bin", "offset", "-4"}, "is not a size"},
		{"negative length", []string{"location", "w.bin", "length", "-1"}, "is not a size"},
		{"offset of letters", []string{"location", "w.bin", "offset", "four"}, "is not a size"},
		{"offset too large for an int64", []string{"location", "w.bin", "offset", "99999999999999999999"}, "is not a size"},
		{"largest offset", []string{"location", "w.bin", "offset", "9223372036854775807"}, "which has 16"},
		{"beyond the end", []string{"location", "w.bin", "offset", "12"}, "which has 16"},
		{"other length", []string{"location", "w.bin", "length", "12"}, "12 bytes in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, "m.onnx")
			if err := os.WriteFile(path, pbBytes(t, modelWithExternal(c.keys...)), 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := Load(path)
			if c.want != "" {
				wantBad(t, err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Graph.Init["w"].Floats(); !slices.Equal(got, []float32{1.5, -2}) {
				t.Errorf("read %v", got)
			}
		})
	}
}

// External data as the Python package onnx writes it.
func TestExternalDataOfOnnx(t *testing.T) {
	dir := t.TempDir()
	testenv.RunPython(t, `
import sys, numpy as np, onnx
from onnx import helper as h, numpy_helper as nh
rng = np.random.default_rng(0)
w = [nh.from_array(np.arange(600, dtype=t).reshape(20, 30), t) for t in ("float32", "float16", "int8", "int64", "float64")]
g = h.make_graph([h.make_node("Identity", [t.name], ["y_" + t.name]) for t in w], "g", [],
                 [h.make_tensor_value_info("y_" + t.name, t.data_type, [20, 30]) for t in w], w)
onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 13)]), sys.argv[1] + "/m.onnx",
          save_as_external_data=True, location="weights.bin", size_threshold=0)`, dir)
	m, err := Load(filepath.Join(dir, "m.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Graph.Init) != 5 || !m.WasFloat16 {
		t.Fatalf("%d constants, WasFloat16 %v", len(m.Graph.Init), m.WasFloat16)
	}
	for name, w := range m.Graph.Init {
		for i, v := range w.Floats() {
			want := float32(i)
			if name == "int8" {
				want = float32(int8(i))
			}
			if v != want {
				t.Fatalf("%s: element %d is %v", name, i, v)
			}
		}
	}
	if _, err := m.Marshal(); err != nil {
		t.Error(err)
	}
}
