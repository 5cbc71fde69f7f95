// Package trttest finds out for tests how an engine stores its weights.
//
// Asking TensorRT (the engine inspector) needs a GPU. But TensorRT for RTX puts
// weights into the engine as they are, reordered at most, so that each can be
// looked for in every form it may have: as INT8, FP16 or FP32, in the orders of
// storageOrders. What is found is proof that the layer's weights are stored in that
// type; what is not found is unknown.
package trttest

import (
	"bytes"
	"encoding/binary"
	"math"

	"trtact/internal/onnx"
)

// Weight is the constant that a convolution or product of the model weighs
// with: shape [O][C][kernel...], or any other, row-major.
type Weight struct {
	Name   string
	Dims   []int
	Values []float32 // as the float model has them, or dequantised
	INT8   []int8    // quantised values, nil when the model keeps it in float
}

// StoredWeight is what an engine has of a Weight.
type StoredWeight struct {
	Name     string
	Elements int
	Type     string // int8, fp16, fp32, or "" when it was not found
	Bytes    int64  // in that type; 0 when it was not found
}

// leastStored is the size in bytes below which a weight could be found by
// chance, and is not looked for.
const leastStored = 32

// StoredWeights looks for each weight in an engine of TensorRT for RTX.
// The result has the order of the weights.
func StoredWeights(engine []byte, weights []Weight) []StoredWeight {
	found := make([]StoredWeight, len(weights))
	for i, w := range weights {
		found[i] = StoredWeight{Name: w.Name, Elements: len(w.Values)}
		for _, form := range w.forms() {
			if len(form.data) >= leastStored && !constant(form.data) && bytes.Contains(engine, form.data) {
				found[i].Type, found[i].Bytes = form.name, int64(len(w.Values)*form.size)
				break
			}
		}
	}
	return found
}

type storedForm struct {
	name string
	size int // of an element, in bytes
	data []byte
}

// forms lists the byte sequences that would be the weight, the smallest type
// first within an order.
func (w Weight) forms() []storedForm {
	var forms []storedForm
	for _, order := range storageOrders(w.Dims) {
		if w.INT8 != nil {
			forms = append(forms, storedForm{"int8", 1, encode(order, 1, func(b []byte, i int) { b[0] = byte(w.INT8[i]) })})
		}
		forms = append(forms,
			storedForm{"fp16", 2, encode(order, 2, func(b []byte, i int) {
				binary.LittleEndian.PutUint16(b, onnx.Float16Bits(w.Values[i]))
			})},
			storedForm{"fp32", 4, encode(order, 4, func(b []byte, i int) {
				binary.LittleEndian.PutUint32(b, math.Float32bits(w.Values[i]))
			})})
	}
	return forms
}

// storageOrders lists the orders in which a weight [O][C][positions] may be
// stored, each as row-major indices with -1 for padding: as it is; channels
// behind the positions, also filled up to a multiple of 4, 8, 16 or 32; and
// transposed, as a product takes it.
func storageOrders(dims []int) [][]int {
	if len(dims) == 0 || onnx.Volume(dims) == 0 {
		return nil
	}
	out, channels, positions := dims[0], 1, 1
	if len(dims) > 1 {
		channels, positions = dims[1], onnx.Volume(dims[2:])
	}
	at := func(o, c, p int) int { return (o*channels+c)*positions + p }

	asIs := make([]int, 0, out*channels*positions)
	for i := range out * channels * positions {
		asIs = append(asIs, i)
	}
	transposed := make([]int, 0, len(asIs))
	for p := range positions {
		for c := range channels {
			for o := range out {
				transposed = append(transposed, at(o, c, p))
			}
		}
	}
	orders := [][]int{asIs, transposed}
	last := 0
	for _, multiple := range []int{1, 4, 8, 16, 32} {
		padded := (channels + multiple - 1) / multiple * multiple
		if padded == last {
			continue
		}
		last = padded
		order := make([]int, 0, out*positions*padded)
		for o := range out {
			for p := range positions {
				for c := range padded {
					if c < channels {
						order = append(order, at(o, c, p))
					} else {
						order = append(order, -1)
					}
				}
			}
		}
		orders = append(orders, order)
	}
	return orders
}

func encode(order []int, size int, put func(b []byte, i int)) []byte {
	data := make([]byte, len(order)*size)
	for k, i := range order {
		if i >= 0 {
			put(data[k*size:], i)
		}
	}
	return data
}

// constant data, such as all zeros, is found in any engine.
func constant(data []byte) bool {
	for _, b := range data[1:] {
		if b != data[0] {
			return false
		}
	}
	return true
}
