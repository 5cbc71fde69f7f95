// What the report says of training: curves of loss and accuracy, and the error that is
// left at the heads.

package job

import (
	"fmt"
	"sort"
	"strings"

	"trtact/internal/page"
	"trtact/internal/report"
)

func (r buildReport) trainingText() string {
	if r.QAT == nil {
		return ""
	}
	text := r.QAT.Reason
	if text != "" {
		text = strings.ToUpper(text[:1]) + text[1:] + "."
	}
	if r.QAT.Trained {
		kept := "The trained model was kept."
		if r.QAT.Kept != KeptDistilled {
			kept = "It was no better than the untrained one, which was kept."
		}
		text += " " + kept
	}
	return text
}

// training is facts and curves.
func (r buildReport) training() []page.Block {
	q := r.QAT
	if q == nil || !q.Trained {
		return nil
	}
	facts := []page.Fact{
		{Name: "steps", Value: fmt.Sprintf("%s of %d pictures", report.Count(int64(q.Iterations)), q.Batch)},
		{Name: "time", Value: fmt.Sprintf("%s, %.3g pictures/s", duration(q.Seconds), q.ImagesPerSecond)},
		{Name: "parameters trained", Value: report.Count(int64(q.Parameters))},
		{Name: "ended by", Value: q.StoppedBy}, {Name: "best at step", Value: fmt.Sprint(q.BestStep)},
	}
	if q.Problem != "" {
		facts = append(facts, page.Fact{Name: "problem", Value: q.Problem})
	}
	var charts []page.Chart
	if len(q.Loss) > 0 {
		loss := page.Curve{Name: "loss", Kind: page.INT8}
		above := page.Curve{Name: "above the least possible", Kind: page.Float}
		same := true
		for _, p := range q.Loss {
			loss.X, loss.Y = append(loss.X, float64(p.Step)), append(loss.Y, p.Loss)
			above.X, above.Y = append(above.X, float64(p.Step)), append(above.Y, p.AboveFloor)
			same = same && p.Loss == p.AboveFloor
		}
		curves := []page.Curve{loss}
		if !same {
			curves = append(curves, above)
		}
		charts = append(charts, page.Lines("Loss", page.LineOptions{XLabel: "step", YLabel: "distance to the float model", Log: true}, curves...))
	}
	if len(q.Metric) > 0 {
		title, label, factor := "Loss on held-out pictures", "loss", 1.0
		if q.Judge == "metric" && r.Accuracy.Command == nil {
			title, label, factor = "mAP during training", "mAP, %", 100
		} else if q.Judge == "metric" {
			title, label = "Metric during training", "metric"
		}
		metric := page.Curve{Name: "INT8", Kind: page.INT8, Points: true}
		for _, p := range q.Metric {
			metric.X, metric.Y = append(metric.X, float64(p.Step)), append(metric.Y, factor*p.Value)
		}
		curves := []page.Curve{metric}
		if f := r.Accuracy.Float; f != nil && factor == 100 {
			curves = append(curves, page.Curve{Name: "float", Kind: page.Float, Dashed: true, X: []float64{0, metric.X[len(metric.X)-1]}, Y: []float64{100 * f.MAP, 100 * f.MAP}})
		}
		charts = append(charts, page.Lines(title, page.LineOptions{XLabel: "step", YLabel: label}, curves...))
	}
	blocks := []page.Block{{Facts: facts}}
	if len(charts) > 0 {
		blocks = append(blocks, page.Block{Charts: charts})
	}
	return blocks
}

func (r buildReport) heads() []page.Block {
	if len(r.Accuracy.NodeError) == 0 {
		return nil
	}
	trained := r.QAT != nil && r.QAT.Trained && r.PTQ != nil
	t := &page.Table{Columns: []page.Column{{Title: "head", Wide: true}, {Title: "error", Right: true}}}
	if trained {
		t.Columns = append(t.Columns, page.Column{Title: "before training", Right: true})
	}
	var names []string
	worst := 0.0
	for name, e := range r.Accuracy.NodeError {
		names = append(names, name)
		worst = max(worst, e)
	}
	sort.Strings(names)
	for _, name := range names {
		e := r.Accuracy.NodeError[name]
		bar := 0.0
		if worst > 0 {
			bar = e / worst
		}
		row := []page.Cell{{Text: name}, {Text: percent(e), Bar: bar}}
		if trained {
			before := page.Cell{}
			if v, known := r.PTQ.NodeError[name]; known {
				before.Text = percent(v)
			}
			row = append(row, before)
		}
		t.Rows = append(t.Rows, row)
	}
	return []page.Block{{Table: t}}
}
