// Help texts, made from the commands' and flags' own definitions: usage line,
// what the command does, its flags by group, the global flags, examples. Made
// for 80 columns whatever the terminal, as people paste them.

package cli

import (
	"fmt"
	"io"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/report"
)

const helpWidth = 80

// writeHelp prints the help of command, or of the program when it is nil.
func writeHelp(w io.Writer, app *urfave.App, command *urfave.Command) error {
	var out strings.Builder
	if command == nil {
		programHelp(&out, app)
	} else {
		commandHelp(&out, app, command)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func programHelp(out *strings.Builder, app *urfave.App) {
	fmt.Fprintf(out, "trtact: %s\n\nUsage: trtact COMMAND [ARGUMENT...] [--FLAG...]\n", app.Usage)
	for _, group := range groupsOf(app.Commands, func(c *urfave.Command) (string, bool) { return c.Category, !c.Hidden }) {
		fmt.Fprintf(out, "\n%s:\n", group.title)
		var rows [][2]string
		for _, c := range group.items {
			rows = append(rows, [2]string{c.Name, c.Usage})
		}
		writeRows(out, rows, 12)
	}
	out.WriteString("\nGlobal flags (anywhere on the line):\n")
	writeRows(out, flagRows(app.Flags), 0)
	out.WriteString(`
Exit codes: 0 done, 1 failed, 2 wrong use, 3 no GPU, driver or TensorRT for
what was asked, 4 bad input file, 130 interrupted.

trtact COMMAND --help tells more about a command.
`)
}

func commandHelp(out *strings.Builder, app *urfave.App, c *urfave.Command) {
	usage := c.UsageText
	if usage == "" {
		usage = "trtact " + c.Name
	}
	fmt.Fprintf(out, "Usage: %s\n\n", usage)
	text, examples, _ := strings.Cut(c.Description, "\nExamples:\n")
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(strings.Join(report.Wrap(strings.ReplaceAll(paragraph, "\n", " "), helpWidth), "\n") + "\n")
	}
	for _, group := range groupsOf(c.Flags, flagGroup) {
		fmt.Fprintf(out, "\n%s:\n", group.title)
		writeRows(out, flagRows(group.items), 0)
	}
	out.WriteString("\nGlobal flags:\n")
	writeRows(out, flagRows(app.Flags), 0)
	if examples != "" {
		out.WriteString("\nExamples:\n")
		for _, line := range strings.Split(strings.TrimSpace(examples), "\n") {
			out.WriteString("  " + strings.TrimSpace(line) + "\n")
		}
	}
}

func flagGroup(f urfave.Flag) (string, bool) {
	if v, ok := f.(urfave.VisibleFlag); ok && !v.IsVisible() {
		return "", false
	}
	if c, ok := f.(urfave.CategorizableFlag); ok && c.GetCategory() != "" {
		return c.GetCategory(), true
	}
	return "Flags", true
}

type group[T any] struct {
	title string
	items []T
}

// groupsOf collects items by title, both in the order they come in.
func groupsOf[T any](items []T, of func(T) (title string, shown bool)) []group[T] {
	var groups []group[T]
	at := map[string]int{}
	for _, item := range items {
		title, shown := of(item)
		if !shown {
			continue
		}
		i, ok := at[title]
		if !ok {
			i = len(groups)
			at[title] = i
			groups = append(groups, group[T]{title: title})
		}
		groups[i].items = append(groups[i].items, item)
	}
	return groups
}

// flagRows is "-o, --output FILE" and the text of every flag. A flag's usage
// holds its placeholder in backquotes.
func flagRows(flags []urfave.Flag) [][2]string {
	var rows [][2]string
	for _, f := range flags {
		doc, ok := f.(urfave.DocGenerationFlag)
		if !ok {
			continue
		}
		var short, long string
		for _, name := range f.Names() {
			if len(name) == 1 {
				short = "-" + name + ", "
			} else if long == "" {
				long = "--" + name
			}
		}
		if long == "" {
			long, short = strings.TrimSuffix(short, ", "), ""
		}
		placeholder, text := splitPlaceholder(doc.GetUsage())
		if placeholder != "" {
			long += " " + placeholder
		}
		rows = append(rows, [2]string{short + long, flagText(f.Names()[0], text, doc)})
	}
	return rows
}

func flagText(name, text string, doc urfave.DocGenerationFlag) string {
	if options := choices(name); options != nil {
		text += ": " + strings.Join(options, ", ")
	}
	if doc.TakesValue() && !strings.Contains(text, "(default") {
		if v := strings.TrimSuffix(doc.GetValue(), "0s"); v != "" && v != "0" && v != "[]" {
			text += " (default " + v + ")"
		}
	}
	return text
}

// splitPlaceholder takes the word in backquotes as the placeholder; it stays in
// the text unless the text begins with it.
func splitPlaceholder(usage string) (placeholder, text string) {
	before, rest, quoted := strings.Cut(usage, "`")
	if !quoted {
		return "", usage
	}
	placeholder, after, _ := strings.Cut(rest, "`")
	if before == "" {
		return placeholder, strings.TrimSpace(after)
	}
	return placeholder, before + placeholder + after
}

// writeRows prints name and text in two columns; a name too long for its column
// has its text on the next line.
func writeRows(out *strings.Builder, rows [][2]string, least int) {
	const most = 24
	size := least
	for _, row := range rows {
		if n := report.Width(row[0]); n <= most {
			size = max(size, n)
		}
	}
	indent := strings.Repeat(" ", 2+size+2)
	for _, row := range rows {
		lines := report.Wrap(row[1], helpWidth-len(indent))
		if report.Width(row[0]) > size {
			fmt.Fprintf(out, "  %s\n%s%s\n", row[0], indent, lines[0])
		} else {
			fmt.Fprintf(out, "  %-*s  %s\n", size, row[0], lines[0])
		}
		for _, line := range lines[1:] {
			out.WriteString(indent + line + "\n")
		}
	}
}
