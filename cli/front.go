// The front of error against latency on the terminal, and the GPU that it is for.

package cli

import (
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/job"
	"trtact/internal/report"
	"trtact/internal/roofline"
	"trtact/trt"
)

func gpuFlag() urfave.Flag {
	var names []string
	for _, g := range roofline.GPUs() {
		names = append(names, g.Name)
	}
	return &urfave.StringFlag{Name: "gpu", Usage: "`NAME` of the GPU whose latency is estimated where none is measured: " + strings.Join(names, ", ") +
		", or one by its capability, such as sm_86 (default: the first that fits --target, else " + roofline.Default().Name + ")"}
}

// gpuOption is the GPU of the flag, else one of the targets.
func gpuOption(c *urfave.Context, targets []int) (roofline.GPU, error) {
	if name := c.String("gpu"); name != "" {
		g, err := roofline.Find(name)
		if err != nil {
			return g, usage(c.Command.Name, "--gpu: %v", err)
		}
		return g, nil
	}
	for _, g := range roofline.GPUs() {
		if slices.Contains(targets, g.Capability) {
			return g, nil
		}
	}
	return roofline.Default(), nil
}

// withoutDepthwise says whether the GPU that was asked for has no INT8 kernels for
// depthwise layers.
func withoutDepthwise(c *urfave.Context, g roofline.GPU) bool {
	return (c.IsSet("gpu") || c.IsSet("target")) && !g.DepthwiseINT8()
}

// writeFront is the table of forms between all INT8 and all float.
func (s *session) writeFront(f *job.Front) error {
	if f == nil || len(f.Points) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	for _, line := range report.Wrap("Error against latency ("+f.Label()+"; layers with weights only):", s.width) {
		fmt.Fprintln(s.out, line)
	}
	t := report.NewTable(">in FP16", ">error", ">ms", "and these")
	for _, p := range f.Points {
		t.Add(fmt.Sprint(p.Float), share(p.Error), p.Milliseconds(), report.OneLine(p.Names(2)))
	}
	return s.table(t)
}

// targetsOf are the capabilities of --target, where it can be read.
func targetsOf(c *urfave.Context) []int {
	list, err := trt.ParseTargets(strings.Split(c.String("target"), ","))
	if c.String("target") == "" || err != nil {
		return nil
	}
	return list
}
