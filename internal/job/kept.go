package job

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"trtact/calib"
	"trtact/internal/atomicfile"
	"trtact/internal/coco"
)

// kept is a calibration kept in a work folder for the next run. It is found
// again only when nothing it depends on has changed: the model's bytes, the size,
// the options, and the images (by name, length and time of change).
type kept struct {
	dir string // "": nothing is kept
	key string
}

func newKept(dir string, d *Detector, data *coco.Dataset, o BuildOptions) kept {
	if dir == "" {
		return kept{}
	}
	h := sha256.New()
	options := o.Calibrate
	enc := json.NewEncoder(h)
	enc.Encode([]any{calib.PlanVersion, d.Source.SHA256, d.Spec, options.Method, options.Weights, options.Placement,
		options.Equalise, options.Biases, options.Images, options.Layers, options.SkipTensors, options.PerTensor, options.Grid, options.NoDepthwise,
		options.Search.Candidates, options.Search.Images, options.Search.Groups})
	for _, im := range data.Images {
		if info, err := os.Stat(im.Path); err == nil {
			fmt.Fprintln(h, im.Path, info.Size(), info.ModTime().UnixNano())
		}
	}
	return kept{dir: dir, key: hex.EncodeToString(h.Sum(nil))}
}

type keptFile struct {
	Key string `json:"key"`
	PTQ *PTQ   `json:"ptq"`
}

func (k kept) paths() (facts, plan string) {
	return filepath.Join(k.dir, "calibration.json"), filepath.Join(k.dir, "calibration.plan.json")
}

func (k kept) load() (*calib.Plan, *PTQ, bool) {
	if k.dir == "" {
		return nil, nil, false
	}
	facts, path := k.paths()
	data, err := os.ReadFile(facts)
	if err != nil {
		return nil, nil, false
	}
	var f keptFile
	if json.Unmarshal(data, &f) != nil || f.Key != k.key || f.PTQ == nil {
		slog.Info("the kept calibration is of another model, size, options or images: calibrating anew", "work", k.dir)
		return nil, nil, false
	}
	plan, err := calib.LoadPlan(path)
	if err != nil {
		return nil, nil, false
	}
	slog.Info("calibration taken from an earlier run", "work", k.dir)
	return plan, f.PTQ, true
}

// save writes the plan first: the facts that vouch for it come last.
func (k kept) save(plan *calib.Plan, ptq *PTQ) error {
	if k.dir == "" {
		return nil
	}
	facts, path := k.paths()
	if err := os.Remove(facts); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := plan.Save(path); err != nil {
		return err
	}
	data, err := json.MarshalIndent(keptFile{k.key, ptq}, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(facts, data)
}
