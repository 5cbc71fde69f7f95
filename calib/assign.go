// From statistics to the scales in a plan. The sites of one group get one scale,
// the largest that its members would have alone: a shared scale must not clip
// what one member needs.
package calib

import "fmt"

// unit is what has one scale: a group, or a site of no group.
type unit struct {
	sites []int // indices in Plan.Sites
}

// units lists what needs a scale, in the order of the first site of each.
func (p *Plan) units() []unit {
	var list []unit
	at := map[int]int{} // group -> index in list
	for i, s := range p.Sites {
		if s.Group != 0 {
			if k, ok := at[s.Group]; ok {
				list[k].sites = append(list[k].sites, i)
				continue
			}
			at[s.Group] = len(list)
		}
		list = append(list, unit{[]int{i}})
	}
	return list
}

// Assign sets every activation's scale by one method from the statistics of its
// tensor, and what goes with it: largest magnitude, clipped share.
func (p *Plan) Assign(stats map[string]*Statistics, m Method) error {
	for _, u := range p.units() {
		if err := p.assignUnit(u, stats, m); err != nil {
			return err
		}
	}
	p.Method = string(m)
	return nil
}

func (p *Plan) assignUnit(u unit, stats map[string]*Statistics, m Method) error {
	clip := 0.0
	for _, i := range u.sites {
		c, err := p.clip(i, stats, m)
		if err != nil {
			return err
		}
		clip = max(clip, c)
	}
	scale := Scale(clip)
	for _, i := range u.sites {
		s := &p.Sites[i]
		st := stats[s.Tensor]
		s.Scale, s.Method, s.AbsMax = scale, string(m), st.AbsMax
		s.Clipped = st.Histogram.Above(float64(scale) * QMax)
		if s.Clipped < 1e-12 || float64(st.AbsMax) <= float64(scale)*QMax*(1+1e-6) {
			s.Clipped = 0
		}
	}
	return nil
}

func (p *Plan) clip(site int, stats map[string]*Statistics, m Method) (float64, error) {
	t := p.Sites[site].Tensor
	s := stats[t]
	if s == nil {
		return 0, fmt.Errorf("calibrate: tensor %q of the plan was not observed", t)
	}
	c, err := m.Clip(s)
	if err != nil {
		return 0, fmt.Errorf("calibrate tensor %q: %w", t, err)
	}
	return c, nil
}
