// Figures that others have published for the same way of quantising, to compare a
// build's with.

package job

import (
	"fmt"

	"trtact/internal/page"
)

// publishedRow is one model of the published table; mAP in percent, times in
// milliseconds.
type publishedRow struct {
	model                 string
	float, ptq, distilled float64
	fp32, fp16, int8      float64
}

// published are the results of Auto Compression Toolkit on the YOLO series: COCO
// val2017, Tesla T4, TensorRT 8.4.1, batch 1, 640x640.
func published() []publishedRow {
	return []publishedRow{
		{"YOLOv5s", 37.4, 36.0, 36.9, 5.95, 2.44, 1.87},
		{"YOLOv6s", 42.4, 30.3, 41.3, 9.06, 2.90, 1.83},
		{"YOLOv7", 51.1, 50.2, 50.9, 26.84, 7.44, 4.55},
		{"YOLOv7-tiny", 37.3, 35.8, 37.0, 5.06, 2.32, 1.68},
		{"PP-YOLOE-s", 43.1, 41.2, 42.6, 6.51, 2.77, 2.12},
	}
}

func publishedTable() *page.Table {
	t := &page.Table{
		Caption: "Published by Auto Compression Toolkit, for other models and all of COCO val2017 (640x640, Tesla T4, TensorRT 8.4.1, batch 1): compare what is lost, not the values. Size -75 % in every row.",
		Columns: []page.Column{{Title: "model"}, {Title: "float mAP", Right: true}, {Title: "PTQ", Right: true}, {Title: "lost", Right: true},
			{Title: "distilled", Right: true}, {Title: "lost", Right: true}, {Title: "FP32, FP16, INT8 ms", Right: true}},
	}
	for _, p := range published() {
		t.Rows = append(t.Rows, page.Texts(p.model, fmt.Sprintf("%.1f", p.float), fmt.Sprintf("%.1f", p.ptq), fmt.Sprintf("%+.1f", p.ptq-p.float),
			fmt.Sprintf("%.1f", p.distilled), fmt.Sprintf("%+.1f", p.distilled-p.float), fmt.Sprintf("%.2f, %.2f, %.2f", p.fp32, p.fp16, p.int8)))
	}
	return t
}
