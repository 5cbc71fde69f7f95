package compute

import (
	"fmt"
	"math"
	"testing"
)

// groupsOf lists the elements that a loss looks at together.
func groupsOf(dims []int, axis int) [][]int {
	var order []string
	groups := map[string][]int{}
	i := 0
	indices(dims, func(at []int) {
		k := append([]int{}, at...)
		switch axis {
		case OverSpace:
			k = k[:2]
		case OverImage:
			k = k[:1]
		default:
			k[axis] = 0
		}
		name := fmt.Sprint(k)
		if groups[name] == nil {
			order = append(order, name)
		}
		groups[name] = append(groups[name], i)
		i++
	})
	var out [][]int
	for _, name := range order {
		out = append(out, groups[name])
	}
	return out
}

// lossOf is the loss and what it is above its least, in float64.
func lossOf(p Loss, dims []int, s, t []float64) (value, above float64) {
	switch p.Kind {
	case LossL2, LossL1:
		for i := range s {
			d := math.Abs(s[i] - t[i])
			if p.Kind == LossL2 {
				d *= d
			}
			value += d / float64(len(s))
		}
		return value, value
	}
	groups := groupsOf(dims, p.Axis)
	temperature := float64(p.Temperature)
	for _, g := range groups {
		if p.Kind == LossCosine {
			dot, ss, tt := 0.0, 0.0, 0.0
			for _, i := range g {
				dot, ss, tt = dot+s[i]*t[i], ss+s[i]*s[i], tt+t[i]*t[i]
			}
			value += 1 - dot/math.Sqrt(ss*tt)
			continue
		}
		zs, zt := 0.0, 0.0
		for _, i := range g {
			zs, zt = zs+math.Exp(s[i]/temperature), zt+math.Exp(t[i]/temperature)
		}
		for _, i := range g {
			ls, lt := s[i]/temperature-math.Log(zs), t[i]/temperature-math.Log(zt)
			value -= math.Exp(lt) * ls
			above += math.Exp(lt) * (lt - ls)
		}
	}
	value, above = value/float64(len(groups)), above/float64(len(groups))
	switch p.Kind {
	case LossCosine:
		return value, value
	case LossChannelKL:
		return above * temperature * temperature, above * temperature * temperature
	}
	return value, above
}

type lossForm struct {
	name  string
	loss  Loss
	dims  []int
	torch string
}

func lossForms() []lossForm {
	image := []int{2, 19, 6, 5}
	soft := func(axis int, T float32) Loss {
		return Loss{LossSoftLabel, axis, T, 0.75}
	}
	cross := func(view string, axis int, T float64) string {
		return fmt.Sprintf("-(F.softmax(i[1]%s / %g, %d) * F.log_softmax(i[0]%s / %g, %d)).sum(%d).mean().reshape(1)", view, T, axis, view, T, axis, axis)
	}
	return []lossForm{
		{"soft label, last axis", soft(3, 1), image, cross("", 3, 1)},
		{"soft label, height, T 2", soft(2, 2), image, cross("", 2, 2)},
		{"soft label, channels", soft(1, 1), image, cross("", 1, 1)},
		{"soft label, images", soft(0, 1), image, cross("", 0, 1)},
		{"soft label, space, T 4", soft(OverSpace, 4), image, cross(".flatten(2)", 2, 4)},
		{"soft label, matrix", soft(1, 1), []int{5, 33}, cross("", 1, 1)},
		{"l2", Loss{Kind: LossL2, Weight: 0.75}, image, "F.mse_loss(i[0], i[1]).reshape(1)"},
		{"l1", Loss{Kind: LossL1, Weight: 0.75}, image, "F.l1_loss(i[0], i[1]).reshape(1)"},
		{"cosine of channels", Loss{Kind: LossCosine, Axis: 1, Weight: 0.75}, image, "(1 - F.cosine_similarity(i[0], i[1], 1)).mean().reshape(1)"},
		{"cosine of images", Loss{Kind: LossCosine, Axis: OverImage, Weight: 0.75}, image, "(1 - F.cosine_similarity(i[0].flatten(1), i[1].flatten(1), 1)).mean().reshape(1)"},
		{"channel KL, T 4", Loss{LossChannelKL, OverSpace, 4, 0.75}, image,
			"16 * F.kl_div(F.log_softmax(i[0].flatten(2) / 4, 2), F.log_softmax(i[1].flatten(2) / 4, 2), reduction='sum', log_target=True).reshape(1) / 38"},
	}
}

func lossCases() []gradientCase {
	var list []gradientCase
	for _, f := range lossForms() {
		c := gradientCase{
			name: f.name, in: [][]int{f.dims, f.dims}, out: []int{1}, torch: f.torch,
			layouts: bothLayouts, cotangent: []float32{f.loss.Weight},
			forward: func(in [][]float64) []float64 {
				v, _ := lossOf(f.loss, f.dims, in[0], in[1])
				return []float64{v}
			},
			gradients: func(l Layout) []gradient {
				s := Tensor{f.dims, l}
				return []gradient{{OpDesc{Params: f.loss, Inputs: []Tensor{s, s}, Outputs: []Tensor{{Dims: []int{2}}, s}}, []any{0, 1}, []int{-1, 0}}}
			},
		}
		if len(f.dims) < 3 {
			c.layouts = []Layout{Plain}
		}
		list = append(list, c)
	}
	return list
}

// TestLossValues: the value and what it is above its least; both vanish, or are
// the teacher's entropy, where student and teacher are the same.
func TestLossValues(t *testing.T) {
	cases := lossCases()
	eachDevice(t, func(t *testing.T, d *Device) {
		for i, f := range lossForms() {
			in, _ := cases[i].values()
			for _, l := range cases[i].layouts {
				for _, same := range []bool{false, true} {
					s := Tensor{f.dims, l}
					teacher := in[1]
					if same {
						teacher = in[0]
					}
					desc := OpDesc{Params: f.loss, Inputs: []Tensor{s, s}, Outputs: []Tensor{{Dims: []int{2}}, s}, Threads: 2}
					got := execute(t, d, desc, [][]float32{in[0], teacher}, nil)
					x := doubles([][]float32{in[0], teacher})
					value, above := lossOf(f.loss, f.dims, x[0], x[1])
					for k, want := range []float64{value, above} {
						if math.Abs(float64(got[0][k])-want) > 1e-6*math.Max(1, want) {
							t.Errorf("%s, %v: value %d is %g, want %g", f.name, l, k, got[0][k], want)
						}
					}
					if same {
						for _, g := range got[1] {
							if math.Abs(float64(g)) > 1e-8 {
								t.Errorf("%s, %v: gradient %g where student and teacher are the same", f.name, l, g)
								break
							}
						}
					}
				}
			}
		}
	})
}
