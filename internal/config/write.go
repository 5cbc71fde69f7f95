// Writing a configuration with every value spelled out.

package config

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Marshal is the configuration as a file that Parse reads back to an equal one.
// It fails on a configuration that Validate refuses, and on one with a changed
// section that Given does not have, since that section would be lost.
func (c *Config) Marshal() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	root := &yaml.Node{Kind: yaml.MappingNode, HeadComment: "Every setting of a run of trtact, defaults filled in."}
	for _, s := range Sections() {
		body := mappingNode(c, s.Keys)
		if s.given != nil && !*s.given(c) {
			if !sameNode(body, mappingNode(Default(), s.Keys)) {
				return nil, fmt.Errorf("write configuration: section %s has been changed but is not marked as given", s.Name)
			}
			continue
		}
		root.Content = append(root.Content, wordNode(s.Name), body)
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return out.Bytes(), nil
}

func mappingNode(c *Config, keys []Key) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	kind := typeIn(keys, c)
	for i := range keys {
		k := &keys[i]
		if k.instead != "" || len(k.only) > 0 && !slices.Contains(k.only, kind) {
			continue
		}
		var value *yaml.Node
		switch {
		case k.scalar != nil && typeIn(k.Keys, c) == ScheduleConstant:
			value = valueNode(k.scalar(c))
		case k.Keys != nil && k.null && typeIn(k.Keys, c) == "":
			value = nullNode()
		case k.Keys != nil:
			value = mappingNode(c, k.Keys)
		case k.field == nil:
			continue
		case k.null && isZero(k.field(c)):
			value = nullNode()
		default:
			value = valueNode(k.field(c))
		}
		m.Content = append(m.Content, wordNode(k.Name), value)
	}
	return m
}

func isZero(field any) bool {
	switch p := field.(type) {
	case *string:
		return *p == ""
	case *int:
		return *p == 0
	case *float64:
		return *p == 0
	case *Size:
		return *p == Size{}
	case *[]string:
		return len(*p) == 0
	}
	return false
}

func valueNode(field any) *yaml.Node {
	switch p := field.(type) {
	case *bool:
		return boolNode(*p)
	case *int:
		return intNode(*p)
	case *float64:
		return numberNode(*p)
	case *string:
		return wordNode(*p)
	case *Size:
		return wordNode(fmt.Sprintf("%dx%d", p.Height, p.Width))
	case *[]string:
		return listNode(*p, wordNode)
	case *[]float64:
		return listNode(*p, numberNode)
	case *[]int:
		return listNode(*p, intNode)
	case *[]bool:
		return listNode(*p, boolNode)
	}
	return nullNode()
}

func listNode[T any](values []T, node func(T) *yaml.Node) *yaml.Node {
	l := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range values {
		l.Content = append(l.Content, node(v))
	}
	return l
}

func nullNode() *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}

func boolNode(v bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
}

func intNode(v int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(v)}
}

func numberNode(v float64) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: formatNumber(v)}
}

func wordNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// formatNumber writes a number so that Python's reader takes it for one too: it
// wants a point before an exponent.
func formatNumber(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if mantissa, exponent, ok := strings.Cut(s, "e"); ok {
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		return mantissa + "e" + exponent
	}
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func sameNode(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Value == b.Value &&
		slices.EqualFunc(a.Content, b.Content, sameNode)
}
