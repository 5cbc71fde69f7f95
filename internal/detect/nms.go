// Non-maximum suppression, greedy and per class.
//
// All classes go through one pass in the order of scores: a candidate is
// dropped when a kept box of its own class overlaps it. That keeps what a pass
// for each class would, and the pass ends as soon as enough are kept.
package detect

import (
	"math"
	"slices"
)

// suppress orders the candidates, drops overlapping ones and maps the rest to
// the source image. Among equal scores the earlier candidate comes first.
func (s *Spec) suppress(found []candidate, images map[string][]float32, t Transform, o Options) []Detection {
	order := bestFirst(found, o.TopK)
	kept := make([][][4]float32, s.Head.Classes)
	var result []Detection
	for _, i := range order {
		if len(result) >= o.Keep {
			break
		}
		c := found[i]
		box := s.box(c, images)
		if overlapsAny(box, kept[c.class], o.IoU) {
			continue
		}
		kept[c.class] = append(kept[c.class], box)
		// Boxes of no area and boxes outside the image take part above and are
		// left out here: they cannot be right.
		if in, ok := t.source(box); ok {
			result = append(result, Detection{in[0], in[1], in[2], in[3], int(c.class), c.score})
		}
	}
	return result
}

// bestFirst is the places of the best k candidates by falling score.
func bestFirst(found []candidate, k int) []int {
	// Score and place fit one key.
	keys := make([]uint64, 0, len(found))
	floor := floorOf(found, k)
	for i, c := range found {
		if bits := scoreBits(c.score); bits >= floor {
			keys = append(keys, uint64(^bits)<<32|uint64(i))
		}
	}
	slices.Sort(keys)
	if len(keys) > k {
		keys = keys[:max(k, 0)]
	}
	order := make([]int, len(keys))
	for i, key := range keys {
		order[i] = int(uint32(key))
	}
	return order
}

// scoreBits orders scores as unsigned numbers: positive floats order as their
// bits do, negative ones the other way round.
func scoreBits(v float32) uint32 {
	bits := math.Float32bits(v)
	if bits>>31 == 0 {
		return bits | 1<<31
	}
	return ^bits
}

// floorOf is a bound that at least k candidates reach, so that only little more
// than k have to be sorted.
func floorOf(found []candidate, k int) uint32 {
	if len(found) <= k {
		return 0
	}
	const shift = 16
	counts := make([]int, 1<<(32-shift))
	for _, c := range found {
		counts[scoreBits(c.score)>>shift]++
	}
	total := 0
	for b := len(counts) - 1; b > 0; b-- {
		if total += counts[b]; total >= k {
			return uint32(b) << shift
		}
	}
	return 0
}

// overlapsAny says whether a box overlaps one of the others by more than an
// intersection over union of limit.
func overlapsAny(b [4]float32, others [][4]float32, limit float32) bool {
	area := (b[2] - b[0]) * (b[3] - b[1])
	for i := range others {
		k := &others[i]
		w := min(b[2], k[2]) - max(b[0], k[0])
		h := min(b[3], k[3]) - max(b[1], k[1])
		if w <= 0 || h <= 0 {
			continue
		}
		inter := w * h
		if inter > limit*(area+(k[2]-k[0])*(k[3]-k[1])-inter) {
			return true
		}
	}
	return false
}
