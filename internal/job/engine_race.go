// Which of two engines of one model is the faster.

package job

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"trtact/internal/stats"
	"trtact/trt"
)

// Race is what --int8-mode fastest measured.
type Race struct {
	Mode    INT8Mode `json:"mode"`
	Median  float64  `json:"median_ms"` // of the GPU's time for one run
	Runs    int      `json:"runs"`
	Fastest bool     `json:"fastest,omitempty"`
}

// Turns alternate, so that a clock that falls falls for both.
const (
	raceTurns  = 5
	raceBlock  = 500 * time.Millisecond
	raceWarmUp = 20 // runs before each block
)

// faster times the explicit and the implicit engine and gives the faster one.
func (b *building) faster(ctx context.Context, engines []*trt.Engine) (*trt.Engine, error) {
	dir, err := os.MkdirTemp("", "trtact-race-*")
	if err != nil {
		return nil, fmt.Errorf("time both engines: %w", err)
	}
	defer os.RemoveAll(dir)
	b.m.count("time both engines", 0, "")
	samples := make([][]float64, len(engines))
	for turn := range raceTurns {
		for i, e := range engines {
			path := filepath.Join(dir, fmt.Sprintf("%d.engine", i))
			if turn == 0 {
				if err := trt.Write(path, e); err != nil {
					return nil, err
				}
			}
			times, err := race(ctx, path, b.o.Engine)
			if err != nil {
				return nil, fmt.Errorf("time both engines: %w", err)
			}
			samples[i] = append(samples[i], times...)
		}
	}
	best := 0
	modes := []INT8Mode{INT8Explicit, INT8Implicit}
	for i, s := range samples {
		b.r.Race = append(b.r.Race, Race{Mode: modes[i], Median: stats.Summarise(s).Median, Runs: len(s)})
		if b.r.Race[i].Median < b.r.Race[best].Median {
			best = i
		}
	}
	b.r.Race[best].Fastest = true
	slog.Info(fmt.Sprintf("explicit INT8 takes %.3f ms, implicit %.3f ms: the %s engine is kept", b.r.Race[0].Median, b.r.Race[1].Median, modes[best]))
	return engines[best], nil
}

// race is the GPU's times of one block, in milliseconds.
func race(ctx context.Context, path string, o trt.BuildOptions) (times []float64, err error) {
	s, err := trt.OpenSession(ctx, trt.SessionOptions{Engine: path, Log: o.Log, Timeout: o.Timeout, Places: o.Places})
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	block, err := s.Time(ctx, trt.TimeOptions{WarmUp: raceWarmUp, Duration: raceBlock})
	if err != nil {
		return nil, err
	}
	for _, v := range block.Samples {
		times = append(times, v.GPU)
	}
	return times, nil
}
