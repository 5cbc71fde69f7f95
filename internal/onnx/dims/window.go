package dims

// Sliding windows: convolution, transposed convolution and pooling, with their
// padding resolved to numbers.

import (
	"fmt"

	"trtact/internal/onnx"
)

// Window is the geometry of a sliding window over the spatial axes, all
// slices as long as there are spatial axes.
type Window struct {
	Kernel, Strides, Dilations []int
	Begin, End                 []int // padding before and after
	Output                     []int // spatial output sizes
}

// extent is the size of a dilated kernel.
func (w *Window) extent(i int) int { return (w.Kernel[i]-1)*w.Dilations[i] + 1 }

// window reads the attributes that all sliding windows share. kernel may be
// nil: kernel_shape is then required.
func window(n *onnx.Node, rank int, kernel []int) (*Window, error) {
	w := &Window{Output: make([]int, rank)}
	var err error
	if w.Kernel, err = sizes(n, "kernel_shape", rank, 0); err != nil {
		return nil, err
	}
	switch {
	case kernel != nil && n.IntList("kernel_shape") != nil && !Equal(kernel, w.Kernel):
		return nil, fmt.Errorf("kernel_shape %v does not fit the weights' %v", w.Kernel, kernel)
	case kernel != nil:
		w.Kernel = kernel
	case n.IntList("kernel_shape") == nil:
		return nil, fmt.Errorf("attribute kernel_shape is missing")
	}
	if w.Strides, err = sizes(n, "strides", rank, 1); err != nil {
		return nil, err
	}
	if w.Dilations, err = sizes(n, "dilations", rank, 1); err != nil {
		return nil, err
	}
	pads, err := sizes(n, "pads", 2*rank, 0)
	if err != nil {
		return nil, err
	}
	for i := 0; i < rank; i++ {
		if w.Kernel[i] < 1 || w.Strides[i] < 1 || w.Dilations[i] < 1 {
			return nil, fmt.Errorf("kernel %v, strides %v and dilations %v must be positive", w.Kernel, w.Strides, w.Dilations)
		}
	}
	w.Begin, w.End = pads[:rank:rank], pads[rank:]
	return w, nil
}

// sizes reads a list attribute of the given length, or a list of the default.
func sizes(n *onnx.Node, name string, length, def int) ([]int, error) {
	out := make([]int, length)
	list := n.IntList(name)
	if list == nil {
		for i := range out {
			out[i] = def
		}
		return out, nil
	}
	if len(list) != length {
		return nil, fmt.Errorf("attribute %s has %d values, %d needed", name, len(list), length)
	}
	for i, v := range list {
		if v < 0 || v > 1<<24 {
			return nil, fmt.Errorf("attribute %s has the value %d", name, v)
		}
		out[i] = int(v)
	}
	return out, nil
}

// autoPad resolves auto_pad into Begin and End for windows that shrink.
func (w *Window) autoPad(n *onnx.Node, in []int) error {
	mode := n.Str("auto_pad", "NOTSET")
	switch mode {
	case "NOTSET", "":
		return nil
	case "VALID", "SAME_UPPER", "SAME_LOWER":
	default:
		return fmt.Errorf("attribute auto_pad is %q", mode)
	}
	w.Begin, w.End = make([]int, len(in)), make([]int, len(in))
	if mode == "VALID" {
		return nil
	}
	for i, size := range in {
		if size < 0 {
			continue
		}
		out := (size + w.Strides[i] - 1) / w.Strides[i]
		total := max(0, (out-1)*w.Strides[i]+w.extent(i)-size)
		w.Begin[i] = total / 2
		if mode == "SAME_LOWER" {
			w.Begin[i] = total - total/2
		}
		w.End[i] = total - w.Begin[i]
	}
	return nil
}

// Conv is the window of a Conv over spatial sizes in (without batch and
// channels); kernel is the spatial part of the weights' shape.
func Conv(n *onnx.Node, in, kernel []int) (*Window, error) {
	w, err := window(n, len(in), kernel)
	if err != nil {
		return nil, err
	}
	if err := w.autoPad(n, in); err != nil {
		return nil, err
	}
	return w, w.shrink(in, false)
}

// Pool is the window of MaxPool and AveragePool.
func Pool(n *onnx.Node, in []int) (*Window, error) {
	w, err := window(n, len(in), nil)
	if err != nil {
		return nil, err
	}
	if err := w.autoPad(n, in); err != nil {
		return nil, err
	}
	return w, w.shrink(in, n.Int("ceil_mode", 0) != 0)
}

// shrink computes Output; with ceil, the last window may hang over the end but
// has to start inside the input or its leading padding.
func (w *Window) shrink(in []int, ceil bool) error {
	for i, size := range in {
		if size < 0 {
			w.Output[i] = onnx.Dynamic
			continue
		}
		room := size + w.Begin[i] + w.End[i] - w.extent(i)
		if room < 0 {
			return fmt.Errorf("a window of %d (kernel %v, dilations %v) is larger than the input %v padded by %v and %v", w.extent(i), w.Kernel, w.Dilations, in, w.Begin, w.End)
		}
		w.Output[i] = room/w.Strides[i] + 1
		if ceil && room%w.Strides[i] != 0 && w.Output[i]*w.Strides[i] < size+w.Begin[i] {
			w.Output[i]++
		}
	}
	return nil
}

// ConvTranspose is the window of a ConvTranspose: Begin and End are what is cut
// from the full result.
func ConvTranspose(n *onnx.Node, in, kernel []int) (*Window, error) {
	rank := len(in)
	w, err := window(n, rank, kernel)
	if err != nil {
		return nil, err
	}
	extra, err := sizes(n, "output_padding", rank, 0)
	if err != nil {
		return nil, err
	}
	asked, err := sizes(n, "output_shape", rank, 0)
	if err != nil {
		// Some exporters give batch and channels too.
		if asked, err = sizes(n, "output_shape", rank+2, 0); err != nil {
			return nil, err
		}
		asked = asked[2:]
	}
	mode := n.Str("auto_pad", "NOTSET")
	same := mode == "SAME_UPPER" || mode == "SAME_LOWER"
	for i, size := range in {
		if size < 0 {
			w.Output[i] = onnx.Dynamic
			continue
		}
		full := (size-1)*w.Strides[i] + extra[i] + w.extent(i)
		switch {
		case n.IntList("output_shape") != nil:
			w.Output[i] = asked[i]
		case same:
			w.Output[i] = size * w.Strides[i]
		case mode == "VALID":
			w.Begin[i], w.End[i] = 0, 0
			w.Output[i] = full
			continue
		default:
			w.Output[i] = full - w.Begin[i] - w.End[i]
			if w.Output[i] < 0 {
				return nil, fmt.Errorf("pads %v and %v cut away the whole output of %d", w.Begin, w.End, full)
			}
			continue
		}
		// Here the output is given and the padding follows. Where the output is
		// larger than the full result, the end is padded with zeros instead.
		total := full - w.Output[i]
		if total < 0 {
			w.Begin[i], w.End[i] = 0, total
			continue
		}
		w.Begin[i] = total / 2
		if mode == "SAME_LOWER" || (n.IntList("output_shape") != nil && mode != "SAME_UPPER") {
			w.Begin[i] = total - total/2
		}
		w.End[i] = total - w.Begin[i]
	}
	return w, nil
}
