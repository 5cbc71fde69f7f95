// Latency of layers measured while the plan is still open: where a GPU is there and a
// TensorRT that builds for it, which layers to leave float is decided by what they cost.

package job

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"

	"trtact/calib"
	"trtact/internal/fault"
	"trtact/internal/gpu"
	"trtact/trt"
)

// measureTimes builds a candidate and the float model in FP16 and times their layers.
// Where nothing can be built or run, the estimate stays, which is no error.
func (b *building) measureTimes(ctx context.Context, c *candidate) error {
	if b.o.NoEngine || b.spent != nil {
		return nil
	}
	m, err := gpu.Open()
	if err != nil {
		return nil
	}
	m.Close()
	family, err := b.o.family(ctx)
	if fault.Code(err) == fault.CodeNoDevice {
		return nil
	}
	if err != nil {
		return err
	}
	int8, err := b.quantised(c)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "trtact-layers-*")
	if err != nil {
		return fmt.Errorf("time layers: %w", err)
	}
	defer os.RemoveAll(dir)
	b.m.count("time layers", 0, "")
	half := *b
	half.o.FP16 = true
	var paths []string
	for i, d := range []*Detector{int8, b.single} {
		f, err := half.explicit(d, family)
		if err != nil {
			return err
		}
		bytes, err := f.model.Marshal()
		if err != nil {
			return err
		}
		engine, err := trt.Build(ctx, family, bytes, f.options)
		if err != nil {
			return fmt.Errorf("time layers: %w", err)
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.engine", i))
		if err := trt.Write(path, engine); err != nil {
			return err
		}
		paths = append(paths, path)
	}
	spent, err := measureLayers(ctx, b.single.Model.Graph, paths[0], paths[1], b.o.Engine)
	if err != nil {
		return err
	}
	b.spent = &spent
	return nil
}

// byWorth orders layers by the square of their error over the time that leaving them
// float costs; those come first that INT8 does not make faster.
func (t times) byWorth(list []calib.Harm) []calib.Harm {
	worth := func(h calib.Harm) float64 {
		cost := t.fp16[h.Node] - t.int8[h.Node]
		if cost <= 0 {
			return math.Inf(1)
		}
		return h.Score * h.Score / cost
	}
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b calib.Harm) int {
		switch x, y := worth(a), worth(b); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return sorted
}

// orderLayers is the order in which layers are left float: by error alone, or where
// their latency was measured by what they are worth.
func (b *building) orderLayers(ctx context.Context, c *candidate, ranked []calib.Harm) ([]calib.Harm, error) {
	if err := b.measureTimes(ctx, c); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		slog.Warn("layers are ordered by their errors alone: " + err.Error())
	}
	if b.spent == nil {
		return ranked, nil
	}
	return b.spent.byWorth(ranked), nil
}
