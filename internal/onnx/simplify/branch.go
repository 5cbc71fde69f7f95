package simplify

// If nodes whose condition is a constant: PyTorch's exporter leaves them behind
// where a shape decides ("squeeze if the size is 1").

import (
	"slices"

	"trtact/internal/onnx"
)

// branches puts the branch that is taken in the place of its If node.
func (s *simplifier) branches(e *editor) error {
	for _, n := range e.nodes {
		if n.Op != "If" || n.Domain != "" {
			continue
		}
		cond := e.constant(n.Input(0))
		if cond == nil {
			continue
		}
		v, ok := cond.Data.([]bool)
		if !ok || len(v) != 1 {
			continue
		}
		name := "else_branch"
		if v[0] {
			name = "then_branch"
		}
		branch, ok := n.Attrs[name].(*onnx.Graph)
		if ok && e.inline(n, branch) {
			s.did(Branch)
		}
	}
	return nil
}

// inline moves a branch's nodes into the graph under names of their own.
// Branches with subgraphs inside are left alone.
func (e *editor) inline(n *onnx.Node, branch *onnx.Graph) bool {
	if len(branch.Outputs) != len(n.Outputs) || len(branch.Inputs) > 0 ||
		slices.ContainsFunc(branch.Nodes, func(b *onnx.Node) bool { return len(b.Subgraphs()) > 0 }) {
		return false
	}
	rename := map[string]string{"": ""}
	own := map[string]bool{}
	for _, b := range branch.Nodes {
		for _, out := range b.Outputs {
			if out != "" {
				own[out] = true
			}
		}
	}
	identities := map[int]string{} // outputs that no node of the branch makes, or that it gives twice
	for i, v := range branch.Outputs {
		if _, twice := rename[v.Name]; own[v.Name] && !twice {
			rename[v.Name] = n.Outputs[i]
		} else {
			identities[i] = v.Name
		}
	}
	for name, t := range branch.Init {
		rename[name] = e.addConstant(name, t)
	}
	e.remove(n)
	for _, b := range branch.Nodes {
		c := b.Clone()
		c.Name = n.Name + "." + b.Name
		for i, name := range c.Inputs {
			if to, ok := rename[name]; ok {
				c.Inputs[i] = to
			}
		}
		for i, name := range c.Outputs {
			if _, ok := rename[name]; !ok {
				rename[name] = e.name(name)
			}
			c.Outputs[i] = rename[name]
		}
		e.insert(n, c)
	}
	for i := range n.Outputs {
		name, ok := identities[i]
		if !ok || n.Outputs[i] == "" {
			continue
		}
		if to, ok := rename[name]; ok {
			name = to
		}
		e.insert(n, &onnx.Node{Name: n.Name + ".output", Op: "Identity", Inputs: []string{name}, Outputs: []string{n.Outputs[i]}})
	}
	return true
}
