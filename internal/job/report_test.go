package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/calib"
	"trtact/internal/analysis"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/npy"
	"trtact/internal/onnx"
	"trtact/internal/page/pagetest"
	"trtact/internal/rounding"
	"trtact/internal/stats"
	"trtact/internal/testenv"
)

func shapesFile(elem ...string) string {
	return filepath.Join(append([]string{testenv.Root(), "examples", "shapes"}, elem...)...)
}

func analyzeShapes(dir string) AnalyzeOptions {
	return AnalyzeOptions{Model: shapesFile("shapes.onnx"), Data: shapesFile("calib"), Dir: dir, Samples: 6, Precision: 0.1,
		Val: shapesFile("val", "annotations.json"), ValLimit: 16, Worst: 2,
		Calibrate: CalibrateOptions{Method: calib.MeanPercentile(99.99), Placement: calib.DefaultOptions(), Images: 8}, Program: "test", Command: []string{"trtact", "analyze"}}
}

// The analysis of the bundled sample names its layers with extreme weights; a second
// run takes all of it from the first, and a page comes out that a browser shows.
func TestAnalyze(t *testing.T) {
	m, dir := cpu(t), t.TempDir()
	a, err := m.Analyze(context.Background(), analyzeShapes(dir))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, l := range analysis.With(a.Layers, analysis.ExtremeWeights) {
		named[l.Node] = true
	}
	if !named["stage1.0.first"] || !named["up4.right"] {
		t.Errorf("layers with extreme weights: %v", named)
	}
	if a.Float == nil || a.Float.MAP < 0.4 || a.Layers[0].MAP == nil || a.Layers[1].MAP == nil || a.Layers[2].MAP != nil {
		t.Errorf("float %v, worst %v, %v, %v", a.Float, a.Layers[0].MAP, a.Layers[1].MAP, a.Layers[2].MAP)
	}
	if d := *a.Layers[0].MAP - a.Float.MAP; math.Abs(d) > 0.1 || d == 0 {
		t.Errorf("mAP changes by %v with the worst layer", d)
	}
	if a.Whole.Mean < a.Layers[0].Error.Mean/2 || a.Cumulative[0].Error.Mean > a.Whole.Mean {
		t.Errorf("whole %v, worst alone %v, first %v", a.Whole.Mean, a.Layers[0].Error.Mean, a.Cumulative[0].Error.Mean)
	}
	var stored Analysis
	data, err := os.ReadFile(a.Files.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &stored); err != nil || len(stored.Layers) != len(a.Layers) || stored.Files.Report != a.Files.Report {
		t.Errorf("analysis.json: %v, %d layers", err, len(stored.Layers))
	}
	if len(a.Files.PNG) < 6 {
		t.Errorf("charts %q", a.Files.PNG)
	}
	before := workFiles(t, dir)
	again, err := m.Analyze(context.Background(), analyzeShapes(dir))
	if err != nil {
		t.Fatal(err)
	}
	for path, info := range workFiles(t, dir) {
		if old := before[path]; old == nil || !old.ModTime().Equal(info.ModTime()) {
			t.Errorf("%s was made again", path)
		}
	}
	for i, l := range again.Layers {
		if l.Node != a.Layers[i].Node || l.Error.Mean != a.Layers[i].Error.Mean {
			t.Errorf("rank %d: %s %v, at first %s %v", i+1, l.Node, l.Error.Mean, a.Layers[i].Node, a.Layers[i].Error.Mean)
		}
	}
	pagetest.Check(t, a.Files.Report)
}

func workFiles(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	list := map[string]fs.FileInfo{}
	err := filepath.WalkDir(filepath.Join(dir, "work"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		list[path], err = e.Info()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("nothing was kept")
	}
	return list
}

// A network that is no detector: arrays in, the outputs are the heads.
func TestAnalyzeArrays(t *testing.T) {
	m, d, dir := cpu(t), oneInput(t), t.TempDir()
	if err := d.Model.Save(d.Path); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "x.npy")
	if err := npy.Write(data, normal([]int{8, 16, 6, 6}, 5)); err != nil {
		t.Fatal(err)
	}
	a, err := m.Analyze(context.Background(), AnalyzeOptions{Model: d.Path, Data: data, Dir: filepath.Join(dir, "out"), Load: LoadOptions{Family: "none"},
		Calibrate: CalibrateOptions{Method: calib.AbsMax, Placement: calib.DefaultOptions()}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Samples != 8 || len(a.Layers) == 0 || a.Layers[0].Error.Mean <= 0 || a.Whole.Mean <= 0 {
		t.Errorf("%d samples, %d layers, whole %v", a.Samples, len(a.Layers), a.Whole)
	}
	if info, err := os.Stat(a.Files.Report); err != nil || info.Size() < 5000 {
		t.Errorf("report: %v", err)
	}
}

func TestAnalyzeRefuses(t *testing.T) {
	m, dir := cpu(t), t.TempDir()
	for name, c := range map[string]struct {
		change func(*AnalyzeOptions)
		code   int
		want   string
	}{
		"absent model": {func(o *AnalyzeOptions) { o.Model = filepath.Join(dir, "absent.onnx") }, fault.CodeBadInput, "absent.onnx"},
		"absent data":  {func(o *AnalyzeOptions) { o.Data = filepath.Join(dir, "absent") }, fault.CodeBadInput, "absent"},
		"nothing INT8": {func(o *AnalyzeOptions) { o.Calibrate.Placement.Exclude = []string{"."} }, fault.CodeUsage, "no layer"},
		"no such plan": {func(o *AnalyzeOptions) { o.Plan = filepath.Join(dir, "plan.json") }, fault.CodeBadInput, "plan.json"},
		"no labels":    {func(o *AnalyzeOptions) { o.Val = shapesFile("calib") }, fault.CodeUsage, "labels"},
	} {
		o := analyzeShapes(filepath.Join(dir, "out"))
		c.change(&o)
		if _, err := m.Analyze(context.Background(), o); fault.Code(err) != c.code || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want exit code %d and %q", name, err, c.code, c.want)
		}
	}
}

// A build writes a page with its figures, its layers and pictures; names in the model
// are hostile.
func TestBuildReport(t *testing.T) {
	m, dir := cpu(t), t.TempDir()
	model, err := onnx.Load(shapesFile("shapes.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	const hostile = `<script>alert(1)</script>"'><img src=http://evil.example/>`
	for i, n := range model.Graph.Nodes {
		if i%3 == 0 {
			n.Name += hostile
		}
	}
	path := filepath.Join(dir, `a<b>&"c.onnx`)
	if err := model.Save(path); err != nil {
		t.Fatal(err)
	}
	r, err := m.Build(context.Background(), BuildOptions{Model: path, Output: filepath.Join(dir, "out", "shapes.engine"), INT8: true, NoEngine: true,
		Data: shapesFile("calib"), Val: shapesFile("val", "annotations.json"), ValLimit: 12,
		Calibrate: CalibrateOptions{Method: calib.AbsMax, Placement: calib.DefaultOptions()}, Command: []string{"trtact", "build", "it's " + hostile}})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "out", "shapes.report.html"); r.Files.Report != want || r.Seconds["report"] <= 0 {
		t.Errorf("report %q after %v s, want %q", r.Files.Report, r.Seconds["report"], want)
	}
	text, err := os.ReadFile(r.Files.Report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mAP50", "YOLOv6s", r.Model.SHA256, `id="sensitivity"`, `id="pictures"`, "data:image/jpeg", "&lt;script&gt;", `id="sizes"`, "Time per stage"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, bad := range []string{"<script", "<img src=http"} {
		if strings.Contains(string(text), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	pagetest.Check(t, r.Files.Report)
}

func TestTimeInTurns(t *testing.T) {
	var order []string
	list, err := timeInTurns(context.Background(), []namedEngine{{"float", "f"}, {"INT8", "q"}}, func(_ context.Context, path string) ([]float64, error) {
		order = append(order, path)
		if path == "f" {
			return []float64{4, 2, 3}, nil
		}
		return []float64{1, 1.5}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(order, "") != strings.Repeat("fq", raceTurns) {
		t.Errorf("order %q", order)
	}
	if list[0].Median != 3 || list[0].Count != 3*raceTurns || list[1].Engine != "INT8" || list[1].Min != 1 || list[1].Times[0] != 1 {
		t.Errorf("got %+v", list)
	}
	wrong := errors.New("no such engine")
	if _, err := timeInTurns(context.Background(), []namedEngine{{"INT8", "q"}}, func(context.Context, string) ([]float64, error) { return nil, wrong }); !errors.Is(err, wrong) {
		t.Errorf("error %v", err)
	}
}

// All that a result can hold is on the page, and a result with next to nothing makes
// one too.
func TestReportOfEverything(t *testing.T) {
	value := 0.42
	full := &Result{Model: ModelFacts{Path: "m.onnx", SHA256: "abc", Params: 12}, Family: "yolov8", Batch: 2,
		Accuracy: Accuracy{Float: &Figures{0.5, 0.7}, PTQ: &Figures{0.4, 0.6}, INT8: &Figures{0.49, 0.69}, Images: 9, Command: &CommandFigures{Float: &value},
			NodeError: map[string]float64{"h": 0.01}},
		PTQ:      &PTQ{NodeError: map[string]float64{"h": 0.03}},
		QAT:      &QAT{Trained: true, Kept: KeptDistilled, Reason: "it lost too much", Judge: "metric", Loss: []LossPoint{{1, 2, 1, 0.1}, {2, 1, 0.5, 0.1}}, Metric: []MetricPoint{{0, 0.4}, {2, 0.49}}},
		Ladder:   []Rung{{Name: RungPTQ, Found: "lost 10", Lost: 10, Limit: 0.3}, {Name: RungDistilled, Enough: true, Lost: 0.1, Limit: 0.3, Float: []string{"a", "b"}}},
		Search:   &Search{Settings: 320, Finalists: []Finalist{{Setting: Setting{Method: calib.MSE, Weights: calib.AbsMax, Images: 32}, Score: 0.05, Metric: &value}}, Chosen: Setting{Method: calib.MSE, Weights: calib.AbsMax, Images: 32}},
		Rounding: []Rounding{{Layers: 1, Changed: 5, Weights: 9, Blocks: []rounding.Block{{Before: 0.2, After: 0.1, Kept: true}, {Before: 0.4, After: 0.5}}}},
		Latency:  []EngineLatency{{Engine: "float", Summary: stats.Summarise([]float64{2, 3, 4}), Times: []float64{2, 3, 4}}, {Engine: "INT8", Summary: stats.Summarise([]float64{1, 1.5, 2}), Times: []float64{1, 1.5, 2}}},
		Race:     []Race{{Mode: INT8Explicit, Median: 1, Runs: 3, Fastest: true}, {Mode: INT8Implicit, Median: 2, Runs: 3}},
		Size:     Size{WeightsFloat: 400, WeightsInt8: 100, Layers: []LayerSize{{Node: "c", Float: 400, INT8: 100}}}, Seconds: map[string]float64{"load": 1, "total": 3}}
	for name, c := range map[string]struct {
		r    *Result
		want []string
	}{
		"full": {full, []string{"INT8, calibrated", "2.00 times as fast", `id="latency"`, "Time of one run", `id="ladder"`, "a, b", "Metric during training", ">Loss<", "kept", "3.00 %", "metric of the command", "320 settings", "mse on 32 pictures, without admitted layers", "chosen", "1 of 2", "30.0 %", "25.0 %", "5 of 9"}},
		"bare": {&Result{Model: ModelFacts{Path: "m.onnx"}, Seconds: map[string]float64{}}, []string{`id="run"`}},
	} {
		var out bytes.Buffer
		if err := (buildReport{Result: c.r}).page().Write(&out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		if name == "full" {
			path := filepath.Join(t.TempDir(), "report.html")
			if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			pagetest.Check(t, path)
		}
	}
}

func TestReportPath(t *testing.T) {
	for _, c := range []struct {
		o    BuildOptions
		want string
	}{
		{BuildOptions{Output: "a/b.engine"}, "a/b.report.html"},
		{BuildOptions{Output: "a/b.engine", Report: "r"}, "r/report.html"},
		{BuildOptions{SaveDir: "s"}, "s/report.html"},
	} {
		if got := c.o.reportPath(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.o, got, c.want)
		}
	}
}

func TestDisagreement(t *testing.T) {
	box := func(x float32, class int, score float32) detect.Detection {
		return detect.Detection{X1: x, Y1: 0, X2: x + 10, Y2: 10, Class: class, Score: score}
	}
	for name, c := range map[string]struct {
		a, b []detect.Detection
		want float64
	}{
		"nothing":        {nil, nil, 0},
		"the same":       {[]detect.Detection{box(0, 1, 0.5), box(50, 2, 0.7)}, []detect.Detection{box(50, 2, 0.7), box(0, 1, 0.5)}, 0},
		"one is lost":    {[]detect.Detection{box(0, 1, 0.5)}, nil, 0.5},
		"one is new":     {nil, []detect.Detection{box(0, 1, 0.25)}, 0.25},
		"another score":  {[]detect.Detection{box(0, 1, 0.5)}, []detect.Detection{box(0, 1, 0.75)}, 0.25},
		"another class":  {[]detect.Detection{box(0, 1, 0.5)}, []detect.Detection{box(0, 2, 0.5)}, 1},
		"moved a little": {[]detect.Detection{box(0, 1, 0.5)}, []detect.Detection{box(2, 1, 0.5)}, 1 - 8.0/12},
		"moved too far":  {[]detect.Detection{box(0, 1, 0.5)}, []detect.Detection{box(6, 1, 0.5)}, 1},
		"each only once": {[]detect.Detection{box(0, 1, 0.5), box(0, 1, 0.25)}, []detect.Detection{box(0, 1, 0.5)}, 0.25},
	} {
		if got := disagreement(c.a, c.b); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine([]string{"trtact", "build", "my model.onnx", "it's", "", "a=b,c"})
	if want := `trtact build 'my model.onnx' 'it'\''s' '' a=b,c`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
