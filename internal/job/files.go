package job

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
	"trtact/trt"
)

// Where a build writes. With SaveDir all files lie in one folder and have plain
// names (compress); else they are named after the engine (build).

func (o BuildOptions) enginePath() string {
	if o.SaveDir != "" {
		return filepath.Join(o.SaveDir, "model.engine")
	}
	return o.Output
}

func (o BuildOptions) floatEnginePath() string { return o.beside(".float.engine") }
func (o BuildOptions) onnxPath() string        { return o.beside(".onnx") }

func (o BuildOptions) planPath() string {
	if o.SaveDir != "" {
		return filepath.Join(o.SaveDir, "plan.json")
	}
	return o.beside(".plan.json")
}

func (o BuildOptions) resultPath() string {
	switch {
	case o.Report != "":
		return filepath.Join(o.Report, "result.json")
	case o.SaveDir != "":
		return filepath.Join(o.SaveDir, "result.json")
	}
	return o.beside(".result.json")
}

// workPath is the folder of what an interrupted run goes on from: the
// calibration and the training's checkpoint. Nobody asked for the last of its
// three places, so it goes away when the training is done.
func (o BuildOptions) workPath() (dir string, passing bool) {
	switch {
	case o.Work != "":
		return o.Work, false
	case o.SaveDir != "":
		return filepath.Join(o.SaveDir, "checkpoints"), false
	}
	return o.beside(".work"), true
}

// beside is the path of a file named after the engine.
func (o BuildOptions) beside(ext string) string {
	engine := o.enginePath()
	return strings.TrimSuffix(engine, filepath.Ext(engine)) + ext
}

// check looks at where the files are to go before the work begins.
func (o BuildOptions) check() error {
	paths := []string{o.resultPath(), o.reportPath()}
	if !o.NoEngine {
		paths = append(paths, o.enginePath(), trt.SidecarPath(o.enginePath()))
	}
	if o.INT8 {
		paths = append(paths, o.onnxPath(), o.planPath())
	}
	if o.FloatEngine && !o.NoEngine {
		paths = append(paths, o.floatEnginePath(), trt.SidecarPath(o.floatEnginePath()))
	}
	if o.Work != "" || o.INT8 && o.Distil.wanted() {
		work, _ := o.workPath()
		paths = append(paths, filepath.Join(work, "calibration.json"))
	}
	inputs := []struct{ what, path string }{{"the model", o.Model}, {"the pictures", o.Data}, {"the labels", o.Val}, {"the log", o.Engine.Log}}
	if log := o.Engine.Log; log != "" {
		if err := atomicfile.Check(log); err != nil {
			return fault.Usage(err)
		}
	}
	for _, path := range paths {
		if err := atomicfile.Check(path); err != nil {
			return fault.Usage(err)
		}
		for _, in := range inputs {
			if in.path != "" && SamePath(path, in.path) {
				return fault.Usage(fmt.Errorf("writing %s would replace %s %s: choose another place for it", path, in.what, in.path))
			}
		}
	}
	if o.NoEngine {
		return nil
	}
	// What TensorRT says is written there while it works.
	if dir := os.TempDir(); atomicfile.CheckDir(dir) != nil || !isFolder(dir) {
		return fmt.Errorf("temporary files cannot be written to %s: set TMPDIR to a folder where they can", dir)
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// SamePath says whether both paths lead to one file, be it there or not.
func SamePath(a, b string) bool {
	x, err := os.Stat(a)
	y, berr := os.Stat(b)
	if err == nil && berr == nil {
		return os.SameFile(x, y)
	}
	a, err = filepath.Abs(a)
	b, berr = filepath.Abs(b)
	return err == nil && berr == nil && a == b
}
