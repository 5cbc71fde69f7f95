// TensorRT's calibration cache: the scales of a plan for the other way to INT8,
// in which TensorRT 8 and 10 are given the float model and place the quantisers
// themselves (implicit quantisation, trtexec --int8 --calib=FILE).
//
// The file is text: a line with the version and the calibrator's name, then one
// line for each tensor, its name and the 32 bits of its scale, a float, in
// hexadecimal with the highest digit first. The scale is the value of one step,
// clip/127, as everywhere else here.
package calib

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// CacheHeader opens the caches that this program writes: TensorRT 8.4's entropy
// calibrator, of which later versions read the caches too.
const CacheHeader = cacheBegin + "8401-EntropyCalibration2"

const cacheBegin = "TRT-"

// Cache are the scales of tensors by name.
type Cache map[string]float32

// Cache gives the scale of every tensor that the plan quantises, and the same
// scale to the tensors on the other side of operators that only move values, such
// as the parts that a Concat puts together: where Q/DQ pairs would slide through
// those, implicit quantisation asks for a scale on both sides. g is the graph
// that p was placed on.
func (p *Plan) Cache(g *onnx.Graph) (Cache, error) {
	if len(p.Sites) > 0 && !p.Calibrated() {
		return nil, fmt.Errorf("calibration cache: the plan has no scales yet; calibrate first")
	}
	c := Cache{}
	for _, s := range p.Sites {
		if _, has := c[s.Tensor]; !has {
			c[s.Tensor] = s.Scale
		}
	}
	c.spread(g)
	return c, nil
}

// spread gives the scales to the tensors on the other side of operators that only
// move values, unless they have their own.
func (c Cache) spread(g *onnx.Graph) {
	queue := slices.Sorted(maps.Keys(c))
	give := func(tensor string, scale float32) {
		if _, has := c[tensor]; !has && tensor != "" && g.Init[tensor] == nil {
			c[tensor] = scale
			queue = append(queue, tensor)
		}
	}
	ix := g.Index()
	for ; len(queue) > 0; queue = queue[1:] {
		tensor := queue[0]
		if n := ix.Producer[tensor]; n != nil {
			for _, in := range dataInputs(g, n) {
				give(in, c[tensor])
			}
		}
		for _, n := range ix.Consumers[tensor] {
			if slices.Contains(dataInputs(g, n), tensor) {
				for _, out := range n.Outputs {
					give(out, c[tensor])
				}
			}
		}
	}
}

// Save writes the cache, tensors in the order of their names. TensorRT cannot
// read names with line breaks; such a name is an error.
func (c Cache) Save(path string) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("write calibration cache %s: %w", path, err)
	}
	return atomicfile.WriteFunc(path, func(w io.Writer) error { return c.write(w, CacheHeader) })
}

// Text is what Save writes, for the TensorRT of a version such as 8.6.1.
func (c Cache) Text(version string) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("calibration cache: %w", err)
	}
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return nil, fmt.Errorf("calibration cache: %q is no version of TensorRT", version)
	}
	packed := major*1000 + minor*100 + patch
	if major >= 10 { // since when it counts in other units
		packed = major*10000 + minor*100 + patch
	}
	var b bytes.Buffer
	err := c.write(&b, fmt.Sprintf("TRT-%d-EntropyCalibration2", packed))
	return b.Bytes(), err
}

func (c Cache) check() error {
	for name, scale := range c {
		if name == "" || strings.ContainsAny(name, "\r\n") {
			return fmt.Errorf("tensor %q: a cache holds one name a line", name)
		}
		if !goodScale(scale) {
			return fmt.Errorf("tensor %q has scale %v: want a positive normal number", name, scale)
		}
	}
	return nil
}

func (c Cache) write(w io.Writer, header string) error {
	names := make([]string, 0, len(c))
	for name := range c {
		names = append(names, name)
	}
	sort.Strings(names)
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, header)
	for _, name := range names {
		fmt.Fprintf(b, "%s: %08x\n", name, math.Float32bits(c[name]))
	}
	return b.Flush()
}

// IsCache says whether the file at path begins as a calibration cache does.
func IsCache(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(cacheBegin))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == cacheBegin
}

// LoadCache reads a cache file. What is wrong in it comes back as a
// fault.BadInput error that names the file and the line.
func LoadCache(path string) (Cache, error) {
	data, err := readPlanFile(path)
	if err != nil {
		return nil, err
	}
	c, err := ParseCache(data)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read %s: %w", path, err))
	}
	return c, nil
}

// FromCache is the Method of a plan with a cache's scales.
const FromCache = "calibration cache"

// Adopt gives every site the scale that c has for its tensor, and a group the
// largest of its tensors'. What would read a tensor without one stays float, and so
// says the plan. g is the graph that p was placed on. None at all is fault.BadInput.
func (p *Plan) Adopt(c Cache, g *onnx.Graph) error {
	ops := map[string]string{}
	for _, n := range g.Nodes {
		ops[n.Name] = n.Op
	}
	var without []string
	for _, u := range p.units() {
		scale := float32(0)
		for _, i := range u.sites {
			scale = max(scale, c[p.Sites[i].Tensor])
		}
		for _, i := range u.sites {
			s := &p.Sites[i]
			s.Scale, s.AbsMax, s.Method = scale, scale*QMax, FromCache
			if scale == 0 {
				without = append(without, s.Consumers...)
			}
		}
	}
	for _, node := range without {
		p.Skip(node, ops[node], "no scale for its input: the calibration cache does not name the tensor")
	}
	p.Method = FromCache
	if len(p.Sites) == 0 {
		return fault.BadInput(errors.New("the calibration cache has no scale for any tensor that can be quantised: it is another model's"))
	}
	return nil
}

// ParseCache reads a cache that TensorRT or this program wrote. Errors are
// fault.BadInput and name the line.
func ParseCache(data []byte) (Cache, error) {
	bad := func(line int, format string, a ...any) error {
		return fault.BadInput(fmt.Errorf("calibration cache: line %d: %w", line, fmt.Errorf(format, a...)))
	}
	c := Cache{}
	number := 0
	for text := range bytes.Lines(data) {
		number++
		line := strings.TrimRight(string(text), "\r\n")
		if number == 1 {
			if !strings.HasPrefix(line, cacheBegin) || !strings.Contains(line, "Calibration") {
				return nil, bad(number, "%.60q is no header such as %s", line, CacheHeader)
			}
			continue
		}
		if line == "" {
			continue
		}
		at := strings.LastIndex(line, ": ") // names may hold ": " too
		if at <= 0 {
			return nil, bad(number, "%.60q: want NAME: SCALE", line)
		}
		bits, err := strconv.ParseUint(line[at+2:], 16, 32)
		if err != nil {
			return nil, bad(number, "scale %.20q: want up to 8 hexadecimal digits", line[at+2:])
		}
		scale := math.Float32frombits(uint32(bits))
		if _, twice := c[line[:at]]; twice {
			return nil, bad(number, "tensor %.60q stands there twice", line[:at])
		}
		if !goodScale(scale) {
			return nil, bad(number, "tensor %.60q has scale %v: want a positive normal number", line[:at], scale)
		}
		c[line[:at]] = scale
	}
	if number == 0 {
		return nil, fault.BadInput(fmt.Errorf("calibration cache: the file is empty"))
	}
	return c, nil
}
