// Package detect knows the detector families: how an image becomes a network's
// input, where boxes and scores stand in its outputs, and how boxes are drawn.
//
// Everything that differs between families is written down in a Spec, which is
// plain data: Recognize reads it off the graph once, it can be stored as JSON
// beside an engine, and Fit, Normalise and Decode do what it says without looking
// at the graph again. The positions of boxes, objectness and class scores are
// kept as index arithmetic (Slot), so one decoder serves channel-first,
// channel-last, one-tensor and many-tensor heads alike.
package detect

// Spec says how to feed one detector and how to read its outputs.
type Spec struct {
	Family string `json:"family"`
	// Input is the name of the image input, float NCHW with three channels.
	Input  string `json:"input"`
	Batch  int    `json:"batch"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	// Extra holds the values that further inputs must be fed with, by name, for
	// every image of the batch (PaddleDetection's scale_factor and im_shape).
	Extra  map[string][]float32 `json:"extra,omitempty"`
	Pixels PixelFormat          `json:"pixels"`
	Head   Head                 `json:"head"`
	// Outputs are the tensors that Decode reads.
	Outputs []Output `json:"outputs"`
	// Names are the class names; as many as Head.Classes.
	Names []string `json:"names"`
}

// Ways to bring an image to the input size.
const (
	Letterbox        = "letterbox"         // keep the aspect ratio, pad evenly on both sides
	LetterboxTopLeft = "letterbox-topleft" // keep the aspect ratio, pad right and bottom
	Stretch          = "stretch"           // scale both sides apart
)

// Interpolations.
const (
	Linear          = "linear"           // OpenCV's INTER_LINEAR
	Cubic           = "cubic"            // OpenCV's INTER_CUBIC (a = -0.75)
	LinearAntialias = "linear-antialias" // triangle filter as wide as the scale, as Pillow's BILINEAR
	CubicAntialias  = "cubic-antialias"  // cubic filter (a = -0.5) as wide as the scale, as Pillow's BICUBIC
)

// PixelFormat says how pixels become numbers: resize, pad, then
// (value - Mean)/Std for every channel, in the order given.
type PixelFormat struct {
	Resize        string     `json:"resize"`
	Interpolation string     `json:"interpolation"`
	Order         string     `json:"order"` // "rgb" or "bgr"
	Mean          [3]float32 `json:"mean"`  // in units of 0..255, in the given order
	Std           [3]float32 `json:"std"`   // likewise
	Pad           uint8      `json:"pad"`
}

// Box codings of a head.
const (
	Centre      = "centre"      // cx, cy, w, h in input pixels: nothing left to decode
	Corners     = "corners"     // x1, y1, x2, y2 in input pixels
	Anchors     = "anchors"     // YOLOv5: (2t-0.5+cell)*stride, (2t)^2*anchor
	Darknet     = "darknet"     // YOLOv3, YOLOv4: (s*sigmoid(t)-(s-1)/2+cell)*stride, exp(t)*anchor, s the level's Scale
	Exponential = "exponential" // YOLOX: (t+cell)*stride, exp(t)*stride
	Distances   = "distances"   // distances to the four sides in strides, as softmax bins or plain
	TanhSigmoid = "tanh"        // FastestDet: (tanh(t)+cell)*stride, sigmoid(t)*input size
	None        = "none"        // no detector, or none that is known: nothing can be decoded
)

// Head says how the outputs hold detections.
type Head struct {
	Coding  string `json:"coding"`
	Classes int    `json:"classes"`
	// Bins is the number of softmax bins of each distance; 1 for plain distances.
	Bins int `json:"bins,omitempty"`
	// Unit: centres, sizes and corners are shares of the input's width and height.
	Unit bool `json:"unit,omitempty"`
	// YX: what is said here of x and y, width and height comes in the other order.
	YX bool `json:"yx,omitempty"`
	// CellCentre is where in its cell a distance starts: 0.5 or 0 (NanoDet-Plus).
	CellCentre float32 `json:"cell_centre,omitempty"`
	// ClassLogits, ObjectLogits, BoxLogits: the sigmoid is left to the decoder.
	ClassLogits  bool `json:"class_logits,omitempty"`
	ObjectLogits bool `json:"object_logits,omitempty"`
	BoxLogits    bool `json:"box_logits,omitempty"`
	// ObjectPower p makes the score object^p * class^(1-p) (FastestDet: 0.6);
	// 0 stands for the plain product.
	ObjectPower float32 `json:"object_power,omitempty"`
	Levels      []Level `json:"levels"`
}

// Level is one grid of predictions. Decoded heads have a single level of one
// row whose cells are the predictions.
type Level struct {
	Stride int `json:"stride,omitempty"`
	Height int `json:"height"`
	Width  int `json:"width"`
	// Anchors are widths and heights in input pixels; none when there is one
	// prediction a cell.
	Anchors [][2]float32 `json:"anchors,omitempty"`
	// Scale is how far a centre reaches beyond its cell (Darknet's scale_x_y); 0 stands for 1.
	Scale  float32 `json:"scale,omitempty"`
	Box    Slot    `json:"box"`
	Object Slot    `json:"object"` // Output is "" where there is no objectness
	Class  Slot    `json:"class"`
}

// Slot places the values of one kind in an output: image 0's value of a
// channel at an anchor and a cell (cell = y*Width + x) is element
// Offset + anchor*Anchor + cell*Cell + channel*Channel.
type Slot struct {
	Output  string `json:"output,omitempty"`
	Offset  int    `json:"offset"`
	Anchor  int    `json:"anchor,omitempty"`
	Cell    int    `json:"cell"`
	Channel int    `json:"channel"`
}

// Output is a tensor that Decode needs, with the shape it had in the graph.
type Output struct {
	Name string `json:"name"`
	Dims []int  `json:"dims"` // batch first
}

// Detection is one box in the pixels of the source image, clipped to it.
type Detection struct {
	X1    float32 `json:"x1"`
	Y1    float32 `json:"y1"`
	X2    float32 `json:"x2"`
	Y2    float32 `json:"y2"`
	Class int     `json:"class"`
	Score float32 `json:"score"`
}

// Families are the names that --family takes, "auto" first.
func Families() []string {
	return []string{"auto", "yolov3", "yolov4", "yolov5", "yolov6", "yolov7", "yolov8", "yolox", "ppyoloe", "picodet",
		"nanodet", "rtmdet", "fastestdet", "yolofastest", "none"}
}

// pixelFormat is what a family's own evaluation feeds its networks with.
func pixelFormat(family string) PixelFormat {
	f := PixelFormat{Resize: Letterbox, Interpolation: Linear, Order: "rgb", Std: [3]float32{255, 255, 255}, Pad: 114}
	switch family {
	case "yolov5", "yolov6", "yolov7", "yolov8":
		// Their evaluation shrinks by averaging (INTER_AREA), not by sampling:
		// 0.5 mAP on YOLOv5-Lite-e and YOLOv6Lite-L at 320. Without shrinking
		// it is the same as Linear.
		f.Interpolation = LinearAntialias
	case "yolov3":
		f.Pad = 128
	case "yolov4":
		f.Resize = Stretch
	case "yolox":
		f.Resize, f.Order, f.Std = LetterboxTopLeft, "bgr", [3]float32{1, 1, 1}
	case "ppyoloe", "picodet":
		f.Resize, f.Interpolation = Stretch, Cubic
		if family == "picodet" {
			// These shrink to 320 and 416: averaging gains 0.2 mAP at 416.
			f.Interpolation = CubicAntialias
		}
		f.Mean, f.Std = [3]float32{123.675, 116.28, 103.53}, [3]float32{58.395, 57.12, 57.375}
	case "nanodet":
		f.Resize, f.Order = Stretch, "bgr"
		f.Mean, f.Std = [3]float32{103.53, 116.28, 123.675}, [3]float32{57.375, 57.12, 58.395}
	case "rtmdet":
		f.Resize, f.Order = LetterboxTopLeft, "bgr"
		f.Mean, f.Std = [3]float32{103.53, 116.28, 123.675}, [3]float32{57.375, 57.12, 58.395}
	case "fastestdet", "yolofastest":
		f.Resize, f.Order = Stretch, "bgr"
	}
	return f
}
