// The table of keys as the pages of docs/configuration.md.

package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Document is the part of docs/configuration.md that is made from the table of
// keys, in Markdown: one heading and one table per section.
func Document() string {
	var b strings.Builder
	b.WriteString(`The source of a default: ACT is PaddleSlim's ` + "`strategy_config.py`" + `, quanter its ` + "`quanter.py`" + `, examples
the configurations that ACT ships, Paddle the optimisers of PaddlePaddle; trtact stands for keys, and for
defaults, of this program's own. A default of null means that the key may be left empty (` + "`null`, `None`" + `).
`)
	def := Default()
	for _, s := range Sections() {
		fmt.Fprintf(&b, "\n### %s\n\n", s.Name)
		if s.Also != "" {
			fmt.Fprintf(&b, "Also written `%s`. ", s.Also)
		}
		fmt.Fprintf(&b, "%s\n\n", s.Meaning)
		b.WriteString("| key | value | default | source | meaning |\n|---|---|---|---|---|\n")
		documentKeys(&b, def, "", s.Keys)
	}
	b.WriteString("\n### Sections that are refused\n\n| section | why |\n|---|---|\n")
	for _, s := range RefusedSections() {
		row(&b, "`"+s.Name+"`", s.Why)
	}
	return b.String()
}

func documentKeys(b *strings.Builder, def *Config, prefix string, keys []Key) {
	for i := range keys {
		k := &keys[i]
		name := "`" + prefix + k.Name + "`"
		for _, also := range k.Also {
			name += ", `" + prefix + also + "`"
		}
		switch {
		case k.refused:
			row(b, name, "refused", "", "", "Not done: "+k.Meaning+". Empty and false are let through.")
		case k.idle:
			row(b, name, "read, no effect", "", "", "Changes nothing: "+k.Meaning+".")
		case k.fixed != "":
			row(b, name, "only `"+k.fixed+"`", k.fixed, k.Source, "Anything else is refused: "+k.Meaning+".")
		case k.Keys != nil:
			value := "mapping"
			if k.scalar != nil {
				value = "number " + k.span.String() + ", or mapping"
			}
			row(b, name, value, "", "", k.Meaning)
			documentKeys(b, def, prefix+k.Name+".", k.Keys)
		default:
			meaning := k.Meaning
			if len(k.only) > 0 {
				meaning += " Type " + strings.Join(k.only, " or ") + " only."
			}
			row(b, name, valueText(k, def), "`"+defaultText(k, def)+"`", k.Source, meaning)
		}
	}
}

func row(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		b.WriteString("| ")
		if c != "" {
			b.WriteString(strings.ReplaceAll(c, "|", `\|`) + " ")
		}
	}
	b.WriteString("|\n")
}

// valueText says what may stand behind a key.
func valueText(k *Key, def *Config) string {
	words := ""
	if k.allowed != nil {
		words = "`" + strings.Join(k.allowed, "`, `") + "`"
	}
	within := ""
	if k.span != (span{}) {
		within = " " + k.span.String()
	}
	switch k.field(def).(type) {
	case *bool:
		return "true or false"
	case *int:
		return "whole number" + within
	case *float64:
		return "number" + within
	case *string:
		if words != "" {
			return "one of " + words
		}
		return "text"
	case *Size:
		return "`HxW` or one number"
	case *[]string:
		if words != "" {
			return "one or a list of " + words
		}
		return "text or list of texts"
	case *[]float64:
		return "number or list of numbers," + within
	case *[]int:
		return "list of whole numbers," + within
	case *[]bool:
		return "list of true and false"
	}
	return ""
}

func defaultText(k *Key, def *Config) string {
	if k.null && isZero(k.field(def)) {
		return "null"
	}
	switch p := k.field(def).(type) {
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *float64:
		return formatNumber(*p)
	case *string:
		return *p
	case *Size:
		return fmt.Sprintf("%dx%d", p.Height, p.Width)
	case *[]string:
		return "[" + strings.Join(*p, ", ") + "]"
	case *[]float64:
		return listText(*p, formatNumber)
	case *[]int:
		return listText(*p, strconv.Itoa)
	case *[]bool:
		return listText(*p, strconv.FormatBool)
	}
	return ""
}

func listText[T any](values []T, text func(T) string) string {
	var items []string
	for _, v := range values {
		items = append(items, text(v))
	}
	return "[" + strings.Join(items, ", ") + "]"
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

// formatNumber writes a number as it may stand in a file: Python's reader, too,
// takes it for one, which wants a point before an exponent.
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
