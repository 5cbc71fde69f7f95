package onnx

import "math"

// Half precision in files. Graphs are computed with in float32; what is stored
// in 16 bits is widened on loading, and narrowed only in a graph that is made
// to be saved for a reader that takes its types from the file.

// Float16Bits is v as an IEEE 754 binary16 (1 sign, 5 exponent, 10 fraction
// bits), rounded half to even: beyond 65504 infinite, below 2^-14 subnormal.
func Float16Bits(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	abs := math.Abs(float64(v))
	switch {
	case v != v:
		return sign | 0x7e00
	case abs >= 65520: // halfway between the largest number and what would follow it
		return sign | 0x7c00
	case abs < 1.0/(1<<14): // multiples of 2^-24; the first normal number is the 1024th
		return sign | uint16(math.RoundToEven(abs*(1<<24)))
	}
	// The 23 bits of fraction lose 13. A carry runs into the exponent, as it should.
	kept := bits & 0x7fffffff
	kept += 0xfff + kept>>13&1
	return sign | uint16(kept>>13-(127-15)<<10)
}

// Float16Value is the number that the bits of an IEEE 754 binary16 stand for.
func Float16Value(bits uint16) float32 { return half(bits, Float16) }

// half is the value of the bits of a half-precision number: for BFloat16
// they are the upper half of a float32.
func half(bits uint16, stored DType) float32 {
	if stored == BFloat16 {
		return math.Float32frombits(uint32(bits) << 16)
	}
	sign := uint32(bits>>15) << 31
	exponent, fraction := uint32(bits>>10)&0x1f, uint32(bits)&0x3ff
	switch exponent {
	case 0: // zero, or fraction * 2^-24
		v := float32(fraction) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f: // infinite, or not a number
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// Float16 is a copy of t in half precision, for a graph that is made to be
// saved; see Float16Bits for the rounding. Data holds the bits.
func (t *Tensor) Float16() *Tensor {
	values := t.Floats()
	bits := make([]uint16, len(values))
	for i, v := range values {
		bits[i] = Float16Bits(v)
	}
	return &Tensor{Type: Float16, Dims: append([]int{}, t.Dims...), Data: bits}
}

// widen is the values of a Float16 tensor.
func (t *Tensor) widen() []float32 {
	bits, _ := t.Data.([]uint16)
	values := make([]float32, len(bits))
	for i, b := range bits {
		values[i] = Float16Value(b)
	}
	return values
}
