// trtact detect: pictures with the boxes that a model finds, several models side
// by side where asked.

package cli

import (
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/atomicfile"
	"trtact/internal/coco"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/report"
)

type detectResult struct {
	Models   []string          `json:"models"`
	Dir      string            `json:"dir"`
	Pictures []detectedPicture `json:"pictures"`
	Skipped  []coco.BadImage   `json:"skipped_images,omitempty"`
}

type detectedPicture struct {
	Image   string `json:"image"`
	Picture string `json:"picture"` // the one with boxes
	// Detections are in the order of Models, best score first.
	Detections [][]namedDetection `json:"detections"`
}

type namedDetection struct {
	detect.Detection
	Name string `json:"name"`
}

func (s *session) detectCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "detect",
		Usage:     "draw the boxes a model finds, or several models side by side",
		UsageText: "trtact detect MODEL IMAGE... [--compare OTHER] [-o DIR]",
		Category:  groupSteps,
		Description: `Runs a detector over pictures and writes each with the boxes drawn as JPEG to a folder.
IMAGE is a picture, a folder of pictures or a list file. With --compare, which may be given
several times, every picture shows the models side by side.

Examples:
trtact detect yolov8n.onnx street.jpg
trtact detect yolov8n.onnx pictures/ --compare yolov8n.int8.onnx -o compared
trtact detect yolov8n.onnx pictures/ --compare yolov8n.engine -o compared
trtact detect yolov8n.onnx street.jpg --json | jq '.pictures[0].detections[0]'`,
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "trtact-out", Usage: "`DIR` to write the pictures to"},
			&urfave.StringSliceFlag{Name: "compare", Usage: "another `MODEL` to show beside"},
			&urfave.Float64Flag{Name: "score", Value: 0.25, Usage: "show boxes that score more than `S`"},
			&urfave.Float64Flag{Name: "iou", Value: 0.45, Usage: "of boxes of a class that overlap by more than `IOU` show the best"},
			shapeFlag(),
			familyFlag(),
			pixelsFlag(),
			likeFlag(),
			trustFlag(),
		},
		Action: s.detect,
	}
}

func (s *session) detect(c *urfave.Context) error {
	if err := takes(c, 2, -1, "a model and at least one picture"); err != nil {
		return err
	}
	o, err := loadOptions(c)
	if err != nil {
		return err
	}
	for _, name := range []string{"score", "iou"} {
		if v := c.Float64(name); v < 0 || v > 1 {
			return usage("detect", "--%s %g: expected 0 to 1", name, v)
		}
	}
	models := append([]string{c.Args().First()}, c.StringSlice("compare")...)
	for _, m := range models {
		if err := needFile("model", m); err != nil {
			return err
		}
	}
	// Engines first: where they cannot run, nothing is to be looked at.
	detectors := make([]*job.Detector, len(models))
	for k, path := range models {
		if isEngine(path) {
			if detectors[k], err = s.engine("detect", path, c.Bool("trust"), o); err != nil {
				return err
			}
			defer detectors[k].Close()
		}
	}
	if err := needOutputDir("detect", "--output", c.String("output")); err != nil {
		return err
	}
	images, err := s.pictures(c.Args().Slice()[1:])
	if err != nil {
		return err
	}
	for k, path := range models {
		if detectors[k] == nil {
			if detectors[k], err = s.load(path, o); err != nil {
				return err
			}
		}
	}
	m, done, err := s.machineFor(detectors...)
	if err != nil {
		return err
	}
	defer done()
	r := detectResult{Models: models, Dir: c.String("output"), Pictures: []detectedPicture{}}
	found := make([][][]detect.Detection, len(models)) // by model and image
	names := make([][]string, len(models))
	broken := map[string]bool{}
	for k, d := range detectors {
		names[k] = d.Spec.Names
		found[k] = make([][]detect.Detection, len(images))
		bad, err := m.Detect(s.ctx, d, images, pictureOptions(c.Float64("score"), c.Float64("iou")), "detect with "+d.Name(),
			func(i int, list []detect.Detection) error {
				found[k][i] = list
				return nil
			})
		if err != nil {
			return err
		}
		for _, b := range bad.List() {
			if !broken[b.Path] {
				broken[b.Path] = true
				r.Skipped = append(r.Skipped, b)
			}
		}
	}
	done()
	places := make([]string, len(images))
	taken := map[string]bool{}
	for i, im := range images {
		if !broken[im.Path] {
			places[i] = filepath.Join(r.Dir, pictureName(im.Path, taken))
		}
	}
	if err := spare(images, places); err != nil {
		return err
	}
	show := s.progress("draw", len(images), "pictures")
	defer show.Finish()
	for i, im := range images {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if broken[im.Path] {
			continue
		}
		p := detectedPicture{Image: im.Path, Picture: places[i]}
		perModel := make([][]detect.Detection, len(models))
		for k := range models {
			perModel[k] = found[k][i]
			p.Detections = append(p.Detections, named(found[k][i], names[k]))
		}
		if err := drawPicture(p.Picture, im.Path, models, perModel, names); err != nil {
			return err
		}
		r.Pictures = append(r.Pictures, p)
		show.Set(i+1, 0)
	}
	show.Finish()
	return s.print(r, func() error { return s.writeDetect(r) })
}

// pictures lists the images of every argument.
func (s *session) pictures(paths []string) ([]coco.Image, error) {
	var images []coco.Image
	for _, path := range paths {
		ds, err := coco.Open(path, "")
		if err != nil {
			return nil, err
		}
		for _, w := range ds.Warnings {
			s.log.Warn(w)
		}
		images = append(images, ds.Images...)
	}
	return images, nil
}

func named(list []detect.Detection, names []string) []namedDetection {
	out := make([]namedDetection, len(list))
	for i, d := range list {
		out[i] = namedDetection{d, detect.ClassName(names, d.Class)}
	}
	return out
}

// pictureName is the image's name with the ending .jpg; a name that is taken
// gets a number.
func pictureName(path string, taken map[string]bool) string {
	base := filepath.Base(path)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	name := base + ".jpg"
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s-%d.jpg", base, n)
	}
	taken[name] = true
	return name
}

// spare is an error, a wrong use, where a picture with boxes would replace one of the
// pictures it was asked for. Places of "" are left out.
func spare(images []coco.Image, places []string) error {
	var inputs []os.FileInfo
	for _, im := range images {
		info, err := os.Stat(im.Path)
		if err != nil { // a broken one
			continue
		}
		inputs = append(inputs, info)
	}
	for i, place := range places {
		info, err := os.Stat(place)
		if place == "" || err != nil {
			continue
		}
		if slices.ContainsFunc(inputs, func(in os.FileInfo) bool { return os.SameFile(in, info) }) {
			return fault.Usage(fmt.Errorf("draw %s: the picture with boxes would replace the picture %s; give another folder with -o", images[i].Path, place))
		}
	}
	return nil
}

func drawPicture(to, from string, models []string, found [][]detect.Detection, names [][]string) error {
	pixels, err := coco.Decode(from)
	if err != nil {
		return err
	}
	var drawn []image.Image
	for k := range models {
		img, err := detect.Draw(pixels, found[k], names[k], detect.DrawOptions{Labels: true})
		if err != nil {
			return fmt.Errorf("draw %s: %w", from, err)
		}
		drawn = append(drawn, img)
	}
	picture := drawn[0]
	if len(drawn) > 1 {
		if picture, err = detect.SideBySide(drawn, modelTitles(models)); err != nil {
			return fmt.Errorf("draw %s: %w", from, err)
		}
	}
	return atomicfile.WriteFunc(to, func(w io.Writer) error {
		return jpeg.Encode(w, picture, &jpeg.Options{Quality: 92})
	})
}

func (s *session) writeDetect(r detectResult) error {
	t := report.NewTable(append([]string{"picture"}, modelTitles(r.Models)...)...)
	for _, p := range r.Pictures {
		row := []string{report.OneLine(p.Picture)}
		for _, list := range p.Detections {
			row = append(row, summary(list))
		}
		t.Add(row...)
	}
	return s.table(t)
}

// modelTitles are the models' file names, with their folder where two have the
// same name.
func modelTitles(models []string) []string {
	count := map[string]int{}
	for _, m := range models {
		count[filepath.Base(m)]++
	}
	titles := make([]string, len(models))
	for i, m := range models {
		titles[i] = filepath.Base(m)
		if count[titles[i]] > 1 {
			titles[i] = filepath.Join(filepath.Base(filepath.Dir(m)), titles[i])
		}
	}
	return titles
}

// summary is "3 person, 1 dog", most frequent first.
func summary(list []namedDetection) string {
	counts := map[string]int{}
	for _, d := range list {
		counts[d.Name]++
	}
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		if counts[names[i]] != counts[names[j]] {
			return counts[names[i]] > counts[names[j]]
		}
		return names[i] < names[j]
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
