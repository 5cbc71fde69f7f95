// What build says of the ladder, and what to do next.

package cli

import (
	"fmt"
	"strings"

	"trtact/internal/job"
	"trtact/internal/report"
)

// writeLadder is the table of the steps that were tried, where there was more than one.
func (s *session) writeLadder(r *job.Result) error {
	if len(r.Ladder) < 2 {
		return nil
	}
	points := r.Accuracy.Float != nil
	column := ">error (%)"
	if points {
		column = ">mAP (%)"
	} else if r.Accuracy.Command != nil {
		column = ">metric"
	}
	t := report.NewTable("tried", column, ">lost", ">allowed", ">time", "")
	for _, rung := range r.Ladder {
		value := ""
		if rung.Metric != nil && points {
			value = fmt.Sprintf("%.2f", 100**rung.Metric)
		} else if rung.Metric != nil {
			value = fmt.Sprintf("%.5g", *rung.Metric)
		}
		var notes []string
		if rung.Kept {
			notes = append(notes, "kept")
		}
		if n := len(rung.Float); n > 0 {
			notes = append(notes, fmt.Sprintf("%d more layers float", n))
		}
		t.Add(rung.Name, value, fmt.Sprintf("%.2f", rung.Lost), fmt.Sprintf("%.2f", rung.Limit), report.Duration(seconds(rung.Seconds)), strings.Join(notes, ", "))
	}
	fmt.Fprintln(s.out)
	return s.table(t)
}

// nextSteps names the commands that a person wants after a build.
func (s *session) nextSteps(r *job.Result) error {
	t := report.NewTable("next", "")
	model := report.ShellWord(r.Model.Path)
	if r.Quantization.Layers > 0 {
		if data := r.Data(); data != "" {
			plan := ""
			if r.Files.Plan != "" && !r.Retrained() {
				plan = " --plan " + report.ShellWord(r.Files.Plan)
			}
			t.Add("to see why", "trtact analyze "+model+" --data "+report.ShellWord(data)+plan)
		}
		if r.Accuracy.Float != nil && r.Files.ONNX != "" {
			t.Add("to see pictures", "trtact detect "+model+" PICTURE --compare "+report.ShellWord(r.Files.ONNX)+" -o pictures/")
		}
	}
	if r.Engine != nil && len(r.Engine.Targets) > 0 {
		t.Add("to time it on its GPU", "trtact bench "+report.ShellWord(r.Files.Engine))
	}
	if t.Len() == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	return s.table(t)
}
