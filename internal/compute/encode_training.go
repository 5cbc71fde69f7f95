package compute

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc/include
#include "trtact/training.h"
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// encodeTraining is encodeParams for the operators of training.
func encodeTraining(m *arena, params Params, desc *C.trtact_op_desc) error {
	set := func(p unsafe.Pointer, size int) {
		desc.params = p
		desc.params_size = C.size_t(size)
	}
	switch v := params.(type) {
	case ConvBackwardData:
		return encodeParams(m, v.Conv, desc)
	case ConvBackwardWeights:
		return encodeParams(m, v.Conv, desc)
	case UnaryBackward:
		setActivation(m, v.Act, set)
	case AffineBackward:
		setActivation(m, v.Act, set)
	case BinaryBackward:
		p := (*C.trtact_binary_backward)(m.alloc(C.sizeof_trtact_binary_backward))
		p.kind, p.by = C.int32_t(v.Kind), flag(v.ByB)
		set(unsafe.Pointer(p), C.sizeof_trtact_binary_backward)
	case PoolBackward:
		return encodeParams(m, v.Pool, desc)
	case GlobalPoolBackward:
		return encodeParams(m, GlobalPool(v), desc)
	case ResizeBackward:
		return encodeParams(m, Resize(v), desc)
	case SoftmaxBackward:
		return encodeParams(m, Softmax(v), desc)
	case ReduceBackward:
		return encodeParams(m, Reduce(v), desc)
	case CopyBackward:
		if err := encodeParams(m, v.Forward, desc); err != nil {
			return err
		}
		p := (*C.trtact_copy_backward)(m.alloc(C.sizeof_trtact_copy_backward))
		p.forward = *(*C.trtact_copy)(desc.params)
		p.input = C.int32_t(v.Input)
		set(unsafe.Pointer(p), C.sizeof_trtact_copy_backward)
	case SumTo:
	case Sum:
		p := (*C.trtact_sum)(m.alloc(C.sizeof_trtact_sum))
		p.accumulate = flag(v.Accumulate)
		set(unsafe.Pointer(p), C.sizeof_trtact_sum)
	case ActQuantize:
		setActQuantize(m, ActQuantizeBackward{ActQuantize: v}, set)
	case ActQuantizeBackward:
		setActQuantize(m, v, set)
	case QuantizeWeights:
		setQuantizeWeights(m, QuantizeWeightsBackward{QuantizeWeights: v}, set)
	case QuantizeWeightsBackward:
		setQuantizeWeights(m, v, set)
	case Loss:
		p := (*C.trtact_loss)(m.alloc(C.sizeof_trtact_loss))
		p.kind, p.axis = C.int32_t(v.Kind), C.int32_t(v.Axis)
		p.temperature, p.weight = C.float(v.Temperature), C.float(v.Weight)
		set(unsafe.Pointer(p), C.sizeof_trtact_loss)
	case GradientNorm:
		p := (*C.trtact_gradient_norm)(m.alloc(C.sizeof_trtact_gradient_norm))
		p.scale, p.max_norm = C.float(v.Scale), C.float(v.MaxNorm)
		set(unsafe.Pointer(p), C.sizeof_trtact_gradient_norm)
	case Optimize:
		p := (*C.trtact_optimize)(m.alloc(C.sizeof_trtact_optimize))
		p.kind, p.nesterov = C.int32_t(v.Kind), flag(v.Nesterov)
		p.momentum, p.beta1, p.beta2, p.epsilon = C.float(v.Momentum), C.float(v.Beta1), C.float(v.Beta2), C.float(v.Epsilon)
		p.n_segments = C.int32_t(len(v.Segments))
		p.segments = (*C.trtact_segment)(m.alloc(max(1, len(v.Segments)) * C.sizeof_trtact_segment))
		for i, s := range v.Segments {
			unsafe.Slice(p.segments, len(v.Segments))[i] = C.trtact_segment{
				from: C.int64_t(s.From), count: C.int64_t(s.Count), rate: C.float(s.Rate), decay: C.float(s.Decay)}
		}
		set(unsafe.Pointer(p), C.sizeof_trtact_optimize)
	default:
		return fmt.Errorf("no parameters known for %T", params)
	}
	return nil
}

func setActQuantize(m *arena, v ActQuantizeBackward, set func(unsafe.Pointer, int)) {
	p := (*C.trtact_act_quantize)(m.alloc(C.sizeof_trtact_act_quantize))
	p.act = activation(v.Act)
	p.low, p.high = C.float(v.Low), C.float(v.High)
	p.rounding = C.int32_t(v.Rounding)
	p.has_clip, p.has_absmax, p.has_dy, p.pass_outside = flag(v.HasClip), flag(v.HasAbsMax), flag(v.HasDY), flag(v.PassOutside)
	p.gradient_scale = C.float(v.GradientScale)
	set(unsafe.Pointer(p), C.sizeof_trtact_act_quantize)
}

func setQuantizeWeights(m *arena, v QuantizeWeightsBackward, set func(unsafe.Pointer, int)) {
	p := (*C.trtact_quantize_weights)(m.alloc(C.sizeof_trtact_quantize_weights))
	p.axis = C.int32_t(v.Axis)
	p.low, p.high = C.float(v.Low), C.float(v.High)
	p.rounding = C.int32_t(v.Rounding)
	p.learned, p.pass_outside = flag(v.Learned), flag(v.PassOutside)
	p.gradient_scale = C.float(v.GradientScale)
	set(unsafe.Pointer(p), C.sizeof_trtact_quantize_weights)
}
