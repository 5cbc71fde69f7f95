// trtact man: the manual page, made from the same definitions as the help. `make
// install` puts it in place.

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	urfave "github.com/urfave/cli/v2"
)

func (s *session) manCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "man",
		Usage:     "the manual page, for man to show",
		UsageText: "trtact man > trtact.1",
		Category:  groupMachine,
		Hidden:    true,
		Description: `Prints the manual page of all commands.

Examples:
trtact man | man -l -`,
		Action: func(c *urfave.Context) error {
			if err := takes(c, 0, 0, ""); err != nil {
				return err
			}
			page := string(md2man.Render([]byte(manual(c.App))))
			return s.print(map[string]string{"man": page}, func() error {
				_, err := io.WriteString(s.out, page)
				return err
			})
		},
	}
}

// manual is the page as Markdown.
func manual(app *urfave.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%% trtact 1\n\n# NAME\n\ntrtact - %s\n\n# SYNOPSIS\n\n**trtact** COMMAND [ARGUMENT...] [--FLAG...]\n\nThis is version %s.\n", escaped(app.Usage), escaped(Version))
	b.WriteString("\n# COMMANDS\n")
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		text, examples, _ := strings.Cut(c.Description, "\nExamples:\n")
		fmt.Fprintf(&b, "\n## %s\n\n    %s\n\n%s\n", c.Name, c.UsageText, escaped(strings.TrimSpace(text)))
		for _, g := range groupsOf(c.Flags, flagGroup) {
			if g.title != "Flags" {
				fmt.Fprintf(&b, "\n%s:\n", g.title)
			}
			manualFlags(&b, g.items)
		}
		if examples != "" {
			b.WriteString("\nExamples:\n\n")
			for _, line := range strings.Split(strings.TrimSpace(examples), "\n") {
				b.WriteString("    " + strings.TrimSpace(line) + "\n")
			}
		}
	}
	b.WriteString("\n# GLOBAL FLAGS\n")
	manualFlags(&b, app.Flags)
	b.WriteString("\n# EXIT STATUS\n\n0 done, 1 failed, 2 wrong use, 3 no GPU, driver or TensorRT for what was asked, 4 bad input file, 130 interrupted.\n")
	b.WriteString("\n# ENVIRONMENT\n\nCOLUMNS: the width of the terminal. NO\\_COLOR: warnings are not coloured. TRTACT\\_LIB: the folder of the program's libraries. TRTACT\\_CACHE: where set-up keeps what it fetched.\n")
	return b.String()
}

func manualFlags(b *strings.Builder, flags []urfave.Flag) {
	for _, row := range flagRows(flags) {
		fmt.Fprintf(b, "\n**%s**\n: %s\n", escaped(row[0]), escaped(row[1]))
	}
}

// escaped keeps Markdown's own signs from being read as such.
func escaped(text string) string {
	return strings.NewReplacer(`\`, `\\`, "_", `\_`, "*", `\*`, "`", "\\`", "<", `\<`, "[", `\[`).Replace(text)
}
