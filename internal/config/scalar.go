// From YAML's scalars and lists to Go values. A scalar's text is read by the
// type that the key wants, not by the type that YAML guesses: 1e-5 is a number
// here (Python's reader takes it for a word), and 640 may be a size.

package config

import (
	"math"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// assign puts the value of a node into what into points to. An empty value is
// the zero value where null is allowed.
func assign(n *yaml.Node, path string, null bool, into any) error {
	if isNull(n) {
		if !null {
			return wrong(n, path, "has no value; give one or remove the line")
		}
		clearValue(into)
		return nil
	}
	var err error
	switch p := into.(type) {
	case *[]string:
		*p, err = list(n, path, text)
	case *[]float64:
		*p, err = list(n, path, number)
	case *[]int:
		*p, err = list(n, path, integer)
	case *[]bool:
		*p, err = list(n, path, yesNo)
	case *string:
		*p, err = text(n, path)
	case *float64:
		*p, err = number(n, path)
	case *int:
		*p, err = integer(n, path)
	case *bool:
		*p, err = yesNo(n, path)
	case *Size:
		*p, err = size(n, path)
	default:
		err = wrong(n, path, "cannot be read: the table has no type %T", into)
	}
	return err
}

func clearValue(into any) {
	switch p := into.(type) {
	case *[]string:
		*p = nil
	case *[]float64:
		*p = nil
	case *[]int:
		*p = nil
	case *[]bool:
		*p = nil
	case *string:
		*p = ""
	case *float64:
		*p = 0
	case *int:
		*p = 0
	case *bool:
		*p = false
	case *Size:
		*p = Size{}
	}
}

// list reads a list, or one value as a list of one. An empty list is nil.
func list[T any](n *yaml.Node, path string, read func(*yaml.Node, string) (T, error)) ([]T, error) {
	if n.Kind != yaml.SequenceNode {
		one, err := read(n, path)
		if err != nil {
			return nil, err
		}
		return []T{one}, nil
	}
	var all []T
	for _, item := range n.Content {
		one, err := read(follow(item), path)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// plain is whether a scalar stands without quotes and without a tag.
func plain(n *yaml.Node) bool {
	const marked = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	return n.Kind == yaml.ScalarNode && n.Style&marked == 0
}

func text(n *yaml.Node, path string) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0 || isNull(n) {
		return "", wrong(n, path, "must be a text, found %s", describe(n))
	}
	return n.Value, nil
}

func number(n *yaml.Node, path string) (float64, error) {
	if plain(n) && !strings.ContainsAny(n.Value, "xXpP_") { // hexadecimal and grouped forms
		v, err := strconv.ParseFloat(n.Value, 64)
		if err == nil && !math.IsInf(v, 0) && !math.IsNaN(v) {
			return v + 0, nil // -0 is 0
		}
	}
	return 0, wrong(n, path, "must be a number, found %s", describe(n))
}

func integer(n *yaml.Node, path string) (int, error) {
	if plain(n) {
		if v, err := strconv.Atoi(n.Value); err == nil {
			return v, nil
		}
	}
	return 0, wrong(n, path, "must be a whole number, found %s", describe(n))
}

// yesNo reads what Python's reader takes for true and false.
func yesNo(n *yaml.Node, path string) (bool, error) {
	if plain(n) {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on":
			return true, nil
		case "false", "no", "off":
			return false, nil
		}
	}
	return false, wrong(n, path, "must be true or false, found %s", describe(n))
}

// size reads 640x480 (height first), one number for both, or a list of two.
func size(n *yaml.Node, path string) (Size, error) {
	sides := []string{n.Value}
	if n.Kind == yaml.SequenceNode {
		sides = nil
		for _, item := range n.Content {
			sides = append(sides, follow(item).Value)
		}
	} else if h, w, two := strings.Cut(strings.ToLower(n.Value), "x"); two {
		sides = []string{h, w}
	}
	var s Size
	var err error
	if len(sides) == 1 {
		sides = append(sides, sides[0])
	}
	if len(sides) == 2 {
		if s.Height, err = strconv.Atoi(sides[0]); err == nil {
			if s.Width, err = strconv.Atoi(sides[1]); err == nil && s != (Size{}) {
				return s, nil
			}
		}
	}
	return Size{}, wrong(n, path, "must be a size such as 640x640 or 640, found %s", describe(n))
}

// isNull is whether a node has no value; None is how ACT's files say so.
func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && (n.Value == "None" && n.Style&yaml.TaggedStyle == 0 || n.ShortTag() == "!!null")
}

// isOff is whether a node asks for nothing: no value, false, or an empty list.
func isOff(n *yaml.Node) bool {
	if isNull(n) {
		return true
	}
	if n.Kind != yaml.ScalarNode {
		return len(n.Content) == 0
	}
	on, err := yesNo(n, "")
	return err == nil && !on || n.Value == ""
}

// describe is a node as an error message shows it.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.Style&yaml.TaggedStyle != 0:
		return "a value with the tag " + show(n.Tag)
	case plain(n):
		return show(n.Value)
	}
	return strconv.Quote(shorten(n.Value))
}

// show is a word of the file as an error message shows it.
func show(s string) string {
	if s = shorten(s); s == "" || s != printable(s) {
		return strconv.Quote(s)
	}
	return s
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}

// printable is s without anything that could disturb a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

func word(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}
