// accuracy measures every detector of the data folder: mAP of the float model
// beside the figure in the folder's README, and of its INT8 forms. `make
// accuracy` runs it; it prints a Markdown table and takes minutes to hours.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"trtact/calib"
	"trtact/internal/coco"
	"trtact/internal/compute"
	"trtact/internal/job"
)

func main() {
	data := flag.String("data", "../shared/data", "folder of detectors and COCO images")
	models := flag.String("models", "", "comma-separated model names; default all")
	images := flag.Int("images", 500, "validation images")
	calibration := flag.Int("calibration", 128, "calibration images")
	methods := flag.String("methods", "auto", "comma-separated calibration methods; empty: float only")
	depthwise := flag.Bool("depthwise", false, "quantise depthwise convolutions")
	biases := flag.Bool("bias-correction", false, "correct biases")
	save := flag.String("save", "", "folder for the Q/DQ models")
	flag.Parse()
	log.SetFlags(0)
	if err := run(*data, *models, *images, *calibration, *methods, *depthwise, *biases, *save); err != nil {
		log.Fatal(err)
	}
}

func run(data, models string, images, calibration int, methods string, depthwise, biases bool, save string) error {
	ctx := context.Background()
	device, err := compute.OpenCPU()
	if err != nil {
		return err
	}
	defer device.Close()
	machine := &job.Machine{Device: device}
	val, err := coco.OpenSubset(filepath.Join(data, "coco", "annotations.json"), filepath.Join(data, "coco", "images"), filepath.Join(data, "coco", "val.txt"))
	if err != nil {
		return err
	}
	val = val.First(images)
	train, err := coco.Open(filepath.Join(data, "coco", "train.txt"), "")
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(data, "models", "*.onnx"))
	if err != nil {
		return err
	}
	fmt.Printf("%d validation images, %d calibration images, %s\n\n", len(val.Images), min(calibration, len(train.Images)), device.Version())
	fmt.Println("| model | what | mAP | mAP50 | seconds | node error |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".onnx")
		if models != "" && !strings.Contains(","+models+",", ","+name+",") {
			continue
		}
		d, err := job.LoadDetector(file, job.LoadOptions{})
		if err != nil {
			return err
		}
		e, err := machine.Evaluate(ctx, d, val, "float")
		if err != nil {
			return err
		}
		fmt.Printf("| %s | float | %.4f | %.4f | %.1f | |\n", name, e.Metrics.AP, e.Metrics.AP50, e.Seconds)
		for _, method := range strings.Split(methods, ",") {
			if method == "" {
				continue
			}
			placement := calib.DefaultOptions()
			placement.Depthwise = depthwise
			c, err := machine.Calibrate(ctx, d, train.Images, job.CalibrateOptions{
				Method: calib.Method(method), Placement: placement, Images: calibration, Biases: biases})
			if err != nil {
				return err
			}
			q, err := calib.Apply(d.Model, c.Plan, calib.FloatWeights)
			if err != nil {
				return err
			}
			if save != "" {
				if err := os.MkdirAll(save, 0o777); err != nil {
					return err
				}
				if err := q.Save(filepath.Join(save, name+"."+strings.ReplaceAll(method, ":", "-")+".onnx")); err != nil {
					return err
				}
			}
			dq, err := d.Derive(q)
			if err != nil {
				return err
			}
			e, err := machine.Evaluate(ctx, dq, val, method)
			if err != nil {
				return err
			}
			worst := 0.0
			for _, v := range c.NodeError {
				worst = max(worst, v)
			}
			fmt.Printf("| %s | %s (%d sites, %d skipped) | %.4f | %.4f | %.1f + %.1f | %.4f |\n", name, c.Plan.Method,
				len(c.Plan.Sites), len(c.Plan.Skipped), e.Metrics.AP, e.Metrics.AP50, c.Seconds, e.Seconds, worst)
		}
	}
	return nil
}
