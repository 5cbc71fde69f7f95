// The losses once more, in Go and double precision: the judge of a run without a
// metric measures a finished Q/DQ model by them, outside of training. Formulas in
// csrc/include/trtact/training.h; a test holds both against each other.
package qat

import (
	"math"

	"trtact/internal/compute"
)

// measure is the loss of a node over one image, and the same above what it is at
// best.
func (n *Node) measure(student, teacher []float32, temperature float64) (loss, above float64) {
	switch n.Loss {
	case L2, L1:
		for i, t := range teacher {
			d := float64(student[i]) - float64(t)
			if n.Loss == L1 {
				loss += math.Abs(d)
			} else {
				loss += d * d
			}
		}
		loss /= float64(len(teacher))
		return loss, loss
	}
	groups := 0
	eachGroup(n.Dims, n.Axis, func(start, count, stride int) {
		groups++
		if n.Loss == Cosine {
			d := 1 - cosine(student, teacher, start, count, stride)
			loss, above = loss+d, above+d
			return
		}
		entropy, divergence := softmaxes(student, teacher, start, count, stride, temperature)
		above += divergence
		loss += divergence
		if n.Loss == SoftLabel {
			loss += entropy
		}
	})
	scale := 1 / float64(groups)
	if n.Loss == ChannelKL {
		scale *= temperature * temperature
	}
	return loss * scale, above * scale
}

// eachGroup calls f with the elements of every group of a row-major tensor.
func eachGroup(dims []int, axis int, f func(start, count, stride int)) {
	total := 1
	for _, d := range dims {
		total *= d
	}
	inner, count := 1, 0
	switch axis {
	case compute.OverImage:
		count = total / dims[0]
	case compute.OverSpace:
		count = total / (dims[0] * dims[1])
	default:
		count = dims[axis]
		for _, d := range dims[axis+1:] {
			inner *= d
		}
	}
	for outer := range total / (count * inner) {
		for i := range inner {
			f(outer*count*inner+i, count, inner)
		}
	}
}

// cosine is that of the angle between two groups; with one of no length 0.
func cosine(a, b []float32, start, count, stride int) float64 {
	var ab, aa, bb float64
	for k := range count {
		x, y := float64(a[start+k*stride]), float64(b[start+k*stride])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// softmaxes gives the entropy of the teacher's softmax over a group and the
// Kullback-Leibler divergence of the student's from it.
func softmaxes(student, teacher []float32, start, count, stride int, temperature float64) (entropy, divergence float64) {
	sum := func(x []float32) (top, log float64) {
		top = math.Inf(-1)
		for k := range count {
			top = math.Max(top, float64(x[start+k*stride])/temperature)
		}
		for k := range count {
			log += math.Exp(float64(x[start+k*stride])/temperature - top)
		}
		return top, math.Log(log)
	}
	sTop, sLog := sum(student)
	tTop, tLog := sum(teacher)
	for k := range count {
		logS := float64(student[start+k*stride])/temperature - sTop - sLog
		logT := float64(teacher[start+k*stride])/temperature - tTop - tLog
		p := math.Exp(logT)
		entropy -= p * logT
		divergence += p * (logT - logS)
	}
	return entropy, divergence
}
