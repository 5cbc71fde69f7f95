package compute

// From the Go structs of this package to the C structs of compute.h. All C
// structs lie in C memory, so that no Go pointer is kept there.

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc/include
#include <stdlib.h>
#include "trtact/compute.h"
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// arena is C memory that is freed together.
type arena struct{ blocks []unsafe.Pointer }

func (m *arena) alloc(bytes int) unsafe.Pointer {
	p := C.calloc(1, C.size_t(bytes)) // cgo's calloc never returns nil
	m.blocks = append(m.blocks, p)
	return p
}

func (m *arena) floats(v []float32) unsafe.Pointer {
	p := m.alloc(4 * max(1, len(v)))
	copy(unsafe.Slice((*float32)(p), len(v)), v)
	return p
}

func (m *arena) free() {
	for _, p := range m.blocks {
		C.free(p)
	}
	m.blocks = nil
}

func tensorList(m *arena, list []Tensor) (*C.trtact_tensor, error) {
	p := (*C.trtact_tensor)(m.alloc(max(1, len(list)) * C.sizeof_trtact_tensor))
	for i := range list {
		if err := fillTensor(&unsafe.Slice(p, len(list))[i], list[i]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func flag(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}

func activation(a Activation) C.trtact_activation {
	return C.trtact_activation{kind: C.int32_t(a.Kind), a: C.float(a.A), b: C.float(a.B)}
}

type spatial = [C.TRTACT_MAX_SPATIAL]C.int64_t

// window copies the sizes of w and returns the number of spatial dimensions.
func window(w Window, kernel, stride, dilation, begin, end *spatial) (C.int32_t, error) {
	n := len(w.Kernel)
	if n < 1 || n > C.TRTACT_MAX_SPATIAL {
		return 0, fmt.Errorf("window of %d spatial dimensions: 1 to %d are possible", n, C.TRTACT_MAX_SPATIAL)
	}
	for _, part := range []struct {
		from []int
		to   *spatial
	}{{w.Kernel, kernel}, {w.Stride, stride}, {w.Dilation, dilation}, {w.PadBegin, begin}, {w.PadEnd, end}} {
		if len(part.from) != n {
			return 0, fmt.Errorf("window %+v: lengths differ", w)
		}
		for i, v := range part.from {
			part.to[i] = C.int64_t(v)
		}
	}
	return C.int32_t(n), nil
}

func strides(list []int, to *[C.TRTACT_MAX_RANK]C.int64_t) {
	for i, v := range list {
		to[i] = C.int64_t(v)
	}
}

func encodeParams(m *arena, params Params, desc *C.trtact_op_desc) error {
	set := func(p unsafe.Pointer, size int) {
		desc.params = p
		desc.params_size = C.size_t(size)
	}
	switch v := params.(type) {
	case Conv:
		p := (*C.trtact_conv)(m.alloc(C.sizeof_trtact_conv))
		n, err := window(v.Window, &p.kernel, &p.stride, &p.dilation, &p.pad_begin, &p.pad_end)
		if err != nil {
			return err
		}
		p.spatial = n
		p.groups = C.int64_t(v.Groups)
		p.has_bias, p.has_scale, p.integers = flag(v.HasBias), flag(v.HasScale), flag(v.Integers)
		p.act = activation(v.Act)
		p.quantize = C.float(v.Quantize)
		set(unsafe.Pointer(p), C.sizeof_trtact_conv)
	case Pool:
		p := (*C.trtact_pool)(m.alloc(C.sizeof_trtact_pool))
		n, err := window(v.Window, &p.kernel, &p.stride, &p.dilation, &p.pad_begin, &p.pad_end)
		if err != nil {
			return err
		}
		p.spatial = n
		p.kind = C.int32_t(v.Kind)
		set(unsafe.Pointer(p), C.sizeof_trtact_pool)
	case MatMul:
		p := (*C.trtact_matmul)(m.alloc(C.sizeof_trtact_matmul))
		p.has_bias, p.has_scale = flag(v.HasBias), flag(v.HasScale)
		p.transpose_a, p.transpose_b = flag(v.TransposeA), flag(v.TransposeB)
		p.act = activation(v.Act)
		set(unsafe.Pointer(p), C.sizeof_trtact_matmul)
	case Unary:
		setActivation(m, v.Act, set)
	case Affine:
		setActivation(m, v.Act, set)
	case Binary:
		p := (*C.trtact_binary)(m.alloc(C.sizeof_trtact_binary))
		p.kind = C.int32_t(v.Kind)
		set(unsafe.Pointer(p), C.sizeof_trtact_binary)
	case Copy:
		p := (*C.trtact_copy)(m.alloc(C.sizeof_trtact_copy))
		p.n_parts = C.int32_t(len(v.Parts))
		p.fill, p.value = flag(v.Fill), C.float(v.Value)
		p.parts = (*C.trtact_copy_part)(m.alloc(max(1, len(v.Parts)) * C.sizeof_trtact_copy_part))
		for i, part := range v.Parts {
			if len(part.Dims) > MaxRank || len(part.InStride) != len(part.Dims) || len(part.OutStride) != len(part.Dims) {
				return fmt.Errorf("copy: part %d has unequal ranks", i)
			}
			c := &unsafe.Slice(p.parts, len(v.Parts))[i]
			c.input = C.int32_t(part.Input)
			c.rank = C.int32_t(len(part.Dims))
			c.in_offset, c.out_offset = C.int64_t(part.InOffset), C.int64_t(part.OutOffset)
			strides(part.Dims, &c.dims)
			strides(part.InStride, &c.in_stride)
			strides(part.OutStride, &c.out_stride)
		}
		set(unsafe.Pointer(p), C.sizeof_trtact_copy)
	case Channels:
		p := (*C.trtact_channels)(m.alloc(C.sizeof_trtact_channels))
		p.n_runs = C.int32_t(len(v.Runs))
		p.runs = (*C.trtact_channel_run)(m.alloc(max(1, len(v.Runs)) * C.sizeof_trtact_channel_run))
		for i, r := range v.Runs {
			unsafe.Slice(p.runs, len(v.Runs))[i] = C.trtact_channel_run{
				input: C.int32_t(r.Input), from: C.int64_t(r.From), to: C.int64_t(r.To), count: C.int64_t(r.Count)}
		}
		set(unsafe.Pointer(p), C.sizeof_trtact_channels)
	case Resize:
		if len(v.Axes) > C.TRTACT_MAX_SPATIAL {
			return fmt.Errorf("resize over %d dimensions: at most %d", len(v.Axes), C.TRTACT_MAX_SPATIAL)
		}
		p := (*C.trtact_resize)(m.alloc(C.sizeof_trtact_resize))
		p.spatial = C.int32_t(len(v.Axes))
		for i, t := range v.Axes {
			p.taps[i] = C.int32_t(t.N)
			index := m.alloc(4 * max(1, len(t.Index)))
			copy(unsafe.Slice((*int32)(index), len(t.Index)), t.Index)
			p.index[i] = (*C.int32_t)(index)
			p.weight[i] = (*C.float)(m.floats(t.Weight))
		}
		set(unsafe.Pointer(p), C.sizeof_trtact_resize)
	case Softmax:
		p := (*C.trtact_axis)(m.alloc(C.sizeof_trtact_axis))
		p.axis, p.log = C.int32_t(v.Axis), flag(v.Log)
		set(unsafe.Pointer(p), C.sizeof_trtact_axis)
	case Reduce:
		p := (*C.trtact_reduce)(m.alloc(C.sizeof_trtact_reduce))
		p.kind = C.int32_t(v.Kind)
		p.outer, p.axis, p.inner = C.int64_t(v.Outer), C.int64_t(v.Axis), C.int64_t(v.Inner)
		set(unsafe.Pointer(p), C.sizeof_trtact_reduce)
	case GlobalPool:
		p := (*C.trtact_reduce)(m.alloc(C.sizeof_trtact_reduce))
		p.kind = C.int32_t(v.Kind)
		set(unsafe.Pointer(p), C.sizeof_trtact_reduce)
	case Quantize:
		p := (*C.trtact_quantize)(m.alloc(C.sizeof_trtact_quantize))
		p.axis, p.low, p.high = C.int32_t(v.Axis), C.float(v.Low), C.float(v.High)
		set(unsafe.Pointer(p), C.sizeof_trtact_quantize)
	case Dequantize:
		p := (*C.trtact_quantize)(m.alloc(C.sizeof_trtact_quantize))
		p.axis = C.int32_t(v.Axis)
		set(unsafe.Pointer(p), C.sizeof_trtact_quantize)
	case Reorder:
	default:
		return encodeTraining(m, params, desc)
	}
	return nil
}

// checkTaps makes sure that the tables are as long as the library will read.
// written are the tensors that have an entry for each index: the outputs of the
// forward pass, the inputs of the backward one.
func checkTaps(axes []Taps, written []Tensor) error {
	if len(written) != 1 || len(written[0].Dims) != len(axes)+2 {
		return fmt.Errorf("resize: tables for %d dimensions of %v", len(axes), written)
	}
	for i, t := range axes {
		if n := t.N * written[0].Dims[2+i]; len(t.Index) != n || len(t.Weight) != n {
			return fmt.Errorf("resize: table of %d indices and %d weights for %d taps of %d outputs",
				len(t.Index), len(t.Weight), t.N, written[0].Dims[2+i])
		}
	}
	return nil
}

func setActivation(m *arena, a Activation, set func(unsafe.Pointer, int)) {
	p := (*C.trtact_activation)(m.alloc(C.sizeof_trtact_activation))
	*p = activation(a)
	set(unsafe.Pointer(p), C.sizeof_trtact_activation)
}
