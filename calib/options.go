// Options of the placement. They travel inside the plan file, so that a plan
// says by which rules it was made.
package calib

import (
	"fmt"
	"regexp"
)

// Options are the choices of Place. DefaultOptions gives the usual ones; the
// zero value is the most conservative plan without scale groups through Concat.
type Options struct {
	// Heads names the last weighted layer of every output branch (node names).
	// They and everything behind them stay float. Empty: found from the graph.
	Heads []string `json:"heads,omitempty"`
	// QuantizeHeads quantises the layers named by Heads too.
	QuantizeHeads bool `json:"quantize_heads,omitempty"`
	// Depthwise quantises depthwise convolutions.
	Depthwise bool `json:"depthwise,omitempty"`
	// Thin quantises convolutions with fewer channels than an INT8 kernel wants.
	Thin bool `json:"thin,omitempty"`
	// Pooled quantises layers that work on a 1x1 plane (squeeze-and-excite).
	Pooled bool `json:"pooled,omitempty"`
	// Residual quantises the shortcut input of residual additions.
	Residual bool `json:"residual,omitempty"`
	// Concat lets scale groups reach through Concat.
	Concat bool `json:"concat,omitempty"`
	// Include and Exclude are regular expressions over node names. With Include
	// only matching layers are quantised, whatever the other rules but Exclude
	// say about them; a layer that matches Exclude stays float.
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
}

// DefaultOptions are the rules of docs/placement.md: everything that TensorRT
// runs faster in INT8, nothing that it does not.
func DefaultOptions() Options {
	return Options{Residual: true, Concat: true}
}

func (o Options) clone() Options {
	o.Heads, o.Include, o.Exclude = clone(o.Heads), clone(o.Include), clone(o.Exclude)
	return o
}

func (o Options) validate() error {
	if _, err := compileAll("include", o.Include); err != nil {
		return err
	}
	_, err := compileAll("exclude", o.Exclude)
	return err
}

func compileAll(what string, patterns []string) ([]*regexp.Regexp, error) {
	var all []*regexp.Regexp
	for _, p := range patterns {
		r, err := regexp.Compile(p)
		if err != nil {
			return nil, fmt.Errorf("%s pattern %q: %w", what, p, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func matchAny(all []*regexp.Regexp, name string) bool {
	for _, r := range all {
		if r.MatchString(name) {
			return true
		}
	}
	return false
}
