package job

import (
	"errors"
	"fmt"
	"io/fs"
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
	for _, path := range paths {
		if err := atomicfile.Check(path); err != nil {
			return fault.Usage(err)
		}
		if same, err := SameFile(path, o.Model); err != nil || same {
			return fault.Usage(fmt.Errorf("writing %s would replace the model %s: choose another place for it", path, o.Model))
		}
	}
	return nil
}

// SameFile says whether both paths are one existing file.
func SameFile(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(x, y), err
}
