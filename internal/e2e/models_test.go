package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/onnx/onnxpb"
	"trtact/internal/testenv"
)

// picture is a value of the usual input's shape and type.
func value(name string, dims ...int64) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{
		Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(onnx.Float)), Shape: shape}}}}
}

func node(op string, inputs []string, output string) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{OpType: proto.String(op), Name: proto.String("make_" + output), Input: inputs, Output: []string{output}}
}

// small is a model of one convolution, for the tests to spoil.
func small(t testing.TB, spoil func(*onnxpb.GraphProto)) []byte {
	t.Helper()
	g := &onnxpb.GraphProto{
		Name:   proto.String("small"),
		Node:   []*onnxpb.NodeProto{node("Conv", []string{"images", "w"}, "a"), node("Relu", []string{"a"}, "y")},
		Input:  []*onnxpb.ValueInfoProto{value("images", 1, 3, 64, 64)},
		Output: []*onnxpb.ValueInfoProto{value("y", 1, 8, 62, 62)},
		Initializer: []*onnxpb.TensorProto{{Name: proto.String("w"), DataType: proto.Int32(int32(onnx.Float)),
			Dims: []int64{8, 3, 3, 3}, FloatData: make([]float32, 8*3*9)}},
	}
	if spoil != nil {
		spoil(g)
	}
	data, err := proto.Marshal(&onnxpb.ModelProto{
		IrVersion:   proto.Int64(7),
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(13)}},
		Graph:       g,
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// external is the small model with its weights in the file at location.
func external(t testing.TB, location string) []byte {
	t.Helper()
	return small(t, func(g *onnxpb.GraphProto) {
		w := g.Initializer[0]
		w.FloatData = nil
		w.DataLocation = onnxpb.TensorProto_EXTERNAL.Enum()
		w.ExternalData = []*onnxpb.StringStringEntryProto{{Key: proto.String("location"), Value: proto.String(location)}}
	})
}

// TestHostileModels gives every command that takes a model files that are none.
func TestHostileModels(t *testing.T) {
	program(t)
	good := read(t, testenv.Data(t, "models", "fastestdet_352.onnx"))
	annotations := testenv.Data(t, "coco", "annotations.json")
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	write(t, out, "here.onnx", []byte("an older result"))
	write(t, out, "here.engine", []byte("an older result"))
	calibration := listFile(t, dir, 2)
	array := filepath.Join(dir, "x.npy")
	if err := npy.Write(array, &npy.Array{Shape: []int{1, 3, 64, 64}, Data: make([]float32, 3*64*64)}); err != nil {
		t.Fatal(err)
	}
	models := filepath.Join(dir, "models")
	secret := write(t, dir, "secret.bin", make([]byte, 4*8*27))

	cases := map[string]struct {
		path string
		word string // what the refusal says beside the file's name
	}{}
	add := func(name string, data []byte, word string) {
		cases[name] = struct{ path, word string }{write(t, models, name, data), word}
	}
	for _, n := range []int{1, 16, 1000, len(good) / 2, len(good) - 1} {
		add("cut"+string(rune('a'+len(cases)))+".onnx", good[:n], "")
	}
	add("empty.onnx", nil, "empty")
	add("garbage.onnx", bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef, 7}, 999), "not an ONNX file")
	add("text.onnx", []byte("this is a text\nof two lines\n"), "it is text")
	add("page.onnx", []byte("<!DOCTYPE html><html><body>404</body></html>"), "web page")
	add("noinput.onnx", small(t, func(g *onnxpb.GraphProto) { g.Input = nil }), "images")
	add("hugeweight.onnx", small(t, func(g *onnxpb.GraphProto) { g.Initializer[0].Dims = []int64{1 << 40, 3, 3, 3} }), `"w"`)
	add("negative.onnx", small(t, func(g *onnxpb.GraphProto) { g.Initializer[0].Dims = []int64{-8, -3, 3, 3} }), `"w"`)
	add("cycle.onnx", small(t, func(g *onnxpb.GraphProto) { g.Node[0].Input[0] = "y" }), "cycle")
	add("twice.onnx", small(t, func(g *onnxpb.GraphProto) { g.Node = append(g.Node, node("Relu", []string{"images"}, "y")) }), `"y"`)
	add("lost.onnx", small(t, func(g *onnxpb.GraphProto) { g.Node[1].Input[0] = "nowhere" }), `"nowhere"`)
	add("outside.onnx", external(t, "../secret.bin"), "leaves the model's folder")
	add("absolute.onnx", external(t, secret), "leaves the model's folder")
	add("nested.onnx", external(t, "a/../../secret.bin"), "leaves the model's folder")
	if err := os.Symlink(secret, filepath.Join(models, "link.bin")); err != nil {
		t.Fatal(err)
	}
	add("link.onnx", external(t, "link.bin"), "link.bin")
	add("missing.onnx", external(t, "missing.bin"), "missing.bin")
	if err := os.Mkdir(filepath.Join(models, "folder.onnx"), 0o777); err != nil {
		t.Fatal(err)
	}
	cases["folder.onnx"] = struct{ path, word string }{filepath.Join(models, "folder.onnx"), "folder"}
	cases["absent.onnx"] = struct{ path, word string }{filepath.Join(models, "absent.onnx"), "no such file"}
	if os.Getuid() != 0 {
		add("secret.onnx", good, "permission denied")
		if err := os.Chmod(cases["secret.onnx"].path, 0); err != nil {
			t.Fatal(err)
		}
	}

	commands := map[string][]string{
		"build":     {"--int8", "--qat", "off", "--data", calibration, "-o", filepath.Join(out, "here.engine")},
		"fp16":      {"--fp16", "-o", filepath.Join(out, "here.engine")},
		"calibrate": {"--data", calibration, "-o", filepath.Join(out, "here.onnx")},
		"eval":      {"--data", annotations, "--limit", "2"},
		"detect":    {pictures(t, 1)[0], "-o", out},
		"run":       {"--input", "images=" + array, "--output-dir", out},
		"bench":     {"--device", "cpu"},
		"inspect":   nil,
	}
	before := contents(t, dir)
	for name, c := range cases {
		for cmd, more := range commands {
			if cmd == "fp16" {
				cmd = "build"
			}
			args := slices.Concat([]string{cmd, c.path}, more)
			run(t, refusalLimit, dir, args...).expectRefusal(t, fault.CodeBadInput, name, c.word)
		}
	}
	expectSame(t, dir, before)
}

// TestHugeInputs: sizes are checked before memory is asked for, wherever they
// come from.
func TestHugeInputs(t *testing.T) {
	program(t)
	dir := t.TempDir()
	array := filepath.Join(dir, "x.npy")
	if err := npy.Write(array, &npy.Array{Shape: []int{1, 3, 64, 64}, Data: make([]float32, 3*64*64)}); err != nil {
		t.Fatal(err)
	}
	wide := write(t, dir, "wide.onnx", small(t, func(g *onnxpb.GraphProto) {
		g.Input[0] = value("images", 1, 3, 1<<20, 1<<20)
		g.Output[0] = value("y", 1, 8, 1<<20-2, 1<<20-2)
	}))
	list := listFile(t, dir, 1)
	before := contents(t, dir)
	for _, args := range [][]string{
		{"bench", wide, "--device", "cpu"},
		{"build", wide, "--int8", "--qat", "off", "--data", list, "-o", filepath.Join(dir, "new.engine")},
		{"calibrate", wide, "--data", list, "-o", filepath.Join(dir, "q.onnx")},
		{"eval", wide, "--data", testenv.Data(t, "coco", "annotations.json")},
		{"detect", wide, pictures(t, 1)[0]},
		{"run", wide, "--input", "images=" + array, "-o", filepath.Join(dir, "o")},
	} {
		run(t, refusalLimit, dir, args...).expectRefusal(t, fault.CodeBadInput, "wide.onnx")
	}
	expectSame(t, dir, before)
	// The small model at a size of the user's that no memory holds.
	plain := write(t, dir, "plain.onnx", small(t, nil))
	r := run(t, refusalLimit, dir, "bench", plain, "--device", "cpu", "--shape", "16384", "--batch", "1024")
	if r.code == 0 {
		t.Errorf("a batch of 1024 pictures of 16384x16384 was run")
	}
	r.expectError(t, "plain.onnx")
}
