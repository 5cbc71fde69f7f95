// The published peak figures of the GPUs that estimates are made for.

package roofline

import (
	"fmt"
	"strings"

	"trtact/internal/fault"
	"trtact/internal/nearest"
)

// GPU has the peak rates of one GPU, as its maker publishes them: dense, without the
// doubling for sparse weights, at boost clock.
type GPU struct {
	Name       string  `json:"name"`
	Capability int     `json:"capability"` // 75 is sm_75
	INT8       float64 `json:"int8_tops"`  // tensor cores, 10^12 operations a second
	FP16       float64 `json:"fp16_tflops"`
	// Plain is FP16 without tensor cores, which depthwise convolutions run at.
	Plain     float64 `json:"plain_fp16_tflops"`
	Bandwidth float64 `json:"bandwidth_gbs"` // 10^9 bytes a second
}

// DepthwiseINT8 says whether there are INT8 kernels for depthwise convolutions: not on
// Turing and before (TensorRT issues 3385 and 4529: none, or slower than FP16).
func (g GPU) DepthwiseINT8() bool { return g.Capability > 75 }

// GPUs are from NVIDIA's data sheets and architecture papers: T4 (2018), A10, A30 and
// L4 (data sheets), RTX 30 (GA102 paper), RTX 40 (Ada paper), RTX 50 (Blackwell paper),
// Orin (technical brief; its figures with sparsity are halved here). FP16 is with FP16
// sums where a card is slower with FP32 ones.
func GPUs() []GPU {
	return []GPU{
		{"T4", 75, 130, 65, 16.2, 320},
		{"A30", 80, 330, 165, 41, 933},
		{"A10", 86, 250, 125, 31.2, 600},
		{"RTX 3060", 86, 102, 51, 12.7, 360},
		{"RTX 3080", 86, 238, 119, 29.8, 760},
		{"RTX 3090", 86, 284, 142, 35.6, 936},
		{"Orin Nano 8GB", 87, 20, 10, 2.6, 68},
		{"AGX Orin 64GB", 87, 85, 42.5, 10.6, 204.8},
		{"L4", 89, 242, 121, 30.3, 300},
		{"RTX 4060", 89, 121, 60, 15.1, 272},
		{"RTX 4090", 89, 661, 330, 82.6, 1008},
		{"RTX 5060", 120, 154, 77, 19.2, 448},
		{"RTX 5090", 120, 838, 419, 104.8, 1792},
	}
}

// Default is the GPU of the published results that a report shows.
func Default() GPU { return GPUs()[0] }

// Find knows a GPU by its name, without regard to case and spaces, or by sm_86: the
// first with that capability. Fails with fault.Usage.
func Find(name string) (GPU, error) {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(s))
	}
	var names []string
	for _, g := range GPUs() {
		if plain(g.Name) == plain(name) || plain(name) == fmt.Sprintf("sm%d", g.Capability) {
			return g, nil
		}
		names = append(names, g.Name)
	}
	hint := ""
	if best := nearest.Word(name, names); best != "" {
		hint = fmt.Sprintf("; did you mean %q?", best)
	}
	return GPU{}, fault.Usage(fmt.Errorf("no figures of a GPU %q%s; there are %s", name, hint, strings.Join(names, ", ")))
}
