package trt

// Which ONNX nodes a layer of an engine came from. TensorRT joins layers and
// names the result after its parts in many ways, as in "conv1 + PWN(PWN(sigmoid1),
// mul1)" or "Reformatting CopyNode for Input Tensor 0 to conv1". Two sources
// tell: the engine inspector's metadata, where the engine was built with all
// details, and the names of the network's layers as parsed, which are the
// nodes' names and stand in the sidecar: whatever of them occurs as a whole in the
// name is taken, longer names first.

import (
	"encoding/json"
	"slices"
	"strings"
)

type origins struct {
	metadata map[string][]string // by the engine's layer
	names    []string            // of parsed layers, the longest first
}

// newOrigins takes what a sidecar knows and, where there is one, the inspector's JSON.
func newOrigins(a *Artifact, inspection []byte) *origins {
	o := &origins{metadata: map[string][]string{}}
	for _, l := range a.Layers {
		if l.Name != "" {
			o.names = append(o.names, l.Name)
		}
	}
	slices.SortFunc(o.names, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	o.names = slices.Compact(o.names)
	for _, text := range [][]byte{a.Inspection, inspection} {
		o.inspect(text)
	}
	return o
}

// inspect reads {"Layers": [{"Name": ..., "Metadata": "[ONNX Layer: conv1]\u001e[ONNX
// Layer: relu1]"}]}. Layers of engines without details are plain strings.
func (o *origins) inspect(text []byte) {
	var all struct{ Layers []json.RawMessage }
	if json.Unmarshal(text, &all) != nil {
		return
	}
	for _, raw := range all.Layers {
		var layer struct{ Name, Metadata string }
		if json.Unmarshal(raw, &layer) != nil {
			continue
		}
		var nodes []string
		for _, part := range strings.Split(layer.Metadata, "[ONNX Layer: ")[1:] {
			if name, _, closed := strings.Cut(part, "]"); closed && !slices.Contains(nodes, name) {
				nodes = append(nodes, name)
			}
		}
		if nodes != nil {
			o.metadata[layer.Name] = nodes
		}
	}
}

// of is the nodes that a layer of the engine came from, in the order in which its name
// or metadata has them.
func (o *origins) of(layer string) []string {
	if nodes := o.metadata[layer]; nodes != nil {
		return nodes
	}
	type place struct {
		at   int
		name string
	}
	var places []place
	rest := []byte(layer)
	for _, name := range o.names {
		for from := 0; ; {
			at := strings.Index(string(rest[from:]), name)
			if at < 0 {
				break
			}
			at += from
			from = at + len(name)
			if separates(rest, at-1) && separates(rest, from) {
				if !slices.ContainsFunc(places, func(p place) bool { return p.name == name }) {
					places = append(places, place{at, name})
				}
				for i := at; i < from; i++ { // shorter names are not looked for in it
					rest[i] = 0
				}
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int { return a.at - b.at })
	var nodes []string
	for _, p := range places {
		nodes = append(nodes, p.name)
	}
	return nodes
}

// separates says whether the byte at i is none that a name goes on with.
func separates(text []byte, i int) bool {
	return i < 0 || i >= len(text) || strings.IndexByte(" +,()[]{}|:\x00\x1e", text[i]) >= 0
}
