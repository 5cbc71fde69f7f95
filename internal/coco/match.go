package coco

import (
	"cmp"
	"math"
	"slices"
)

// classFigures are one class's curves. An absent class (no ground truth that
// counts in an area range) has valid false there.
type classFigures struct {
	valid     [areaCount]bool
	truths    int                                       // boxes that count, all areas
	precision [areaCount][IoUCount][RecallCount]float64 // at the last of MaxDets
	recall    [areaCount][3][IoUCount]float64           // per MaxDets
}

// A detection's part at one IoU threshold.
const (
	miss    uint8 = iota // false positive
	hit                  // true positive
	neither              // matched to, or itself, something that is to be ignored
)

// matcher holds the buffers of one goroutine.
type matcher struct {
	maxDets    [3]int
	thresholds [IoUCount]float64
	recalls    [RecallCount]float64
	ious       []float64 // [detection][truth] of one image
	order      []int     // truths of one image, ignored ones last
	ignored    []bool    // by truth of one image
	matched    []bool    // by truth of one image
	kept       []keptDetection
	parts      [areaCount][IoUCount][]uint8 // by kept detection
	ranking    []int32
	precision  []float64
	hits       []int32
}

// keptDetection is one that is among the best MaxDets of its image.
type keptDetection struct {
	score float64
	rank  int32 // by score in its image, from 0
}

func newMatcher(maxDets [3]int) *matcher {
	return &matcher{maxDets: maxDets, thresholds: IoUThresholds(), recalls: RecallLevels()}
}

// class computes the figures of one class.
func (m *matcher) class(boxes classBoxes) classFigures {
	var f classFigures
	m.kept = m.kept[:0]
	for a := range m.parts {
		for t := range m.parts[a] {
			m.parts[a][t] = m.parts[a][t][:0]
		}
	}
	var positives [areaCount]int
	truths, founds := boxes.truths, boxes.founds
	for len(truths) > 0 || len(founds) > 0 {
		image := int32(math.MaxInt32)
		if len(truths) > 0 {
			image = truths[0].image
		}
		if len(founds) > 0 {
			image = min(image, founds[0].image)
		}
		g, d := 0, 0
		for g < len(truths) && truths[g].image == image {
			g++
		}
		for d < len(founds) && founds[d].image == image {
			d++
		}
		m.image(truths[:g], founds[:min(d, m.maxDets[2])], &positives)
		truths, founds = truths[g:], founds[d:]
	}

	f.truths = positives[areaAll]
	m.rank()
	for a, n := range positives {
		if n == 0 {
			continue
		}
		f.valid[a] = true
		for t := range IoUCount {
			parts := m.parts[a][t]
			m.curve(parts, n, &f.precision[a][t])
			for i, limit := range m.maxDets {
				hits := 0
				for k, part := range parts {
					if part == hit && int(m.kept[k].rank) < limit {
						hits++
					}
				}
				f.recall[a][i][t] = float64(hits) / float64(n)
			}
		}
	}
	return f
}

// image matches one image's detections (best first) to its ground truth, for
// every area range and threshold, and adds the number of truths that count to
// positives.
func (m *matcher) image(truths []truth, founds []found, positives *[areaCount]int) {
	m.ious = m.ious[:0]
	for d := range founds {
		for g := range truths {
			m.ious = append(m.ious, iou(&founds[d], &truths[g]))
		}
		m.kept = append(m.kept, keptDetection{founds[d].score, int32(d)})
	}
	m.matched = slices.Grow(m.matched[:0], len(truths))[:len(truths)]
	m.ignored = slices.Grow(m.ignored[:0], len(truths))[:len(truths)]
	for a, limits := range areaRanges() {
		m.order = m.order[:0]
		for g := range truths {
			m.ignored[g] = truths[g].ignore || truths[g].area < limits.low || truths[g].area > limits.high
			if !m.ignored[g] {
				m.order = append(m.order, g)
			}
		}
		positives[a] += len(m.order)
		for g := range truths {
			if m.ignored[g] {
				m.order = append(m.order, g)
			}
		}
		for t, threshold := range m.thresholds {
			clear(m.matched)
			for d := range founds {
				g := m.best(truths, m.ious[d*len(truths):(d+1)*len(truths)], threshold)
				part := miss
				switch {
				case g >= 0 && m.ignored[g]:
					part = neither
				case g >= 0:
					part = hit
				case founds[d].area < limits.low || founds[d].area > limits.high:
					part = neither
				}
				if g >= 0 {
					m.matched[g] = true
				}
				m.parts[a][t] = append(m.parts[a][t], part)
			}
		}
	}
}

// best is the truth that a detection is matched to, or -1: the one of highest
// IoU that is still free, of equals the last; one that counts goes before any
// ignored one; a crowd region is never used up.
func (m *matcher) best(truths []truth, ious []float64, threshold float64) int {
	least := min(threshold, 1-1e-10)
	found := -1
	for _, g := range m.order {
		if m.matched[g] && !truths[g].crowd {
			continue
		}
		if found >= 0 && !m.ignored[found] && m.ignored[g] {
			break
		}
		if ious[g] < least {
			continue
		}
		least, found = ious[g], g
	}
	return found
}

// rank sorts the kept detections of all images by falling score; equal scores
// stay in the order of the images.
func (m *matcher) rank() {
	m.ranking = m.ranking[:0]
	for i := range m.kept {
		m.ranking = append(m.ranking, int32(i))
	}
	slices.SortFunc(m.ranking, func(a, b int32) int {
		if c := cmp.Compare(m.kept[b].score, m.kept[a].score); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
}

// curve fills precision with the highest precision reached at each recall level
// or beyond it, 0 where that recall is never reached.
func (m *matcher) curve(parts []uint8, positives int, precision *[RecallCount]float64) {
	const tiny = 0x1p-52 // keeps 0/0 away, as numpy.spacing(1) does
	m.precision, m.hits = m.precision[:0], m.hits[:0]
	hits, misses := 0, 0
	for _, k := range m.ranking {
		switch parts[k] {
		case hit:
			hits++
		case miss:
			misses++
		}
		m.hits = append(m.hits, int32(hits))
		m.precision = append(m.precision, float64(hits)/(float64(misses)+float64(hits)+tiny))
	}
	for i := len(m.precision) - 1; i > 0; i-- {
		m.precision[i-1] = max(m.precision[i-1], m.precision[i])
	}
	i := 0
	for r, level := range m.recalls {
		for i < len(m.hits) && float64(m.hits[i])/float64(positives) < level {
			i++
		}
		if i == len(m.hits) {
			break
		}
		precision[r] = m.precision[i]
	}
}
