package cli

// docs/configuration.md lists every command with its flags. That part is made
// from the commands themselves, so it cannot miss one.

//go:generate env TRTACT_UPDATE_SNAPSHOTS=1 go test -run ^TestReference$ .

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/report"
	"trtact/internal/testenv"
)

// The made part of the page stands between these lines.
const (
	referenceBegin = "<!-- made by `make update-snapshots`: commands -->\n"
	referenceEnd   = "<!-- end of commands -->\n"
)

func TestReference(t *testing.T) {
	path := filepath.Join(testenv.Root(), "docs", "configuration.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(page), referenceBegin)
	have, after, ended := strings.Cut(rest, referenceEnd)
	if !begun || !ended {
		t.Fatalf("docs/configuration.md lacks the line %q or %q", referenceBegin, referenceEnd)
	}
	s := &session{out: &bytes.Buffer{}, screen: report.NewScreen(&bytes.Buffer{}, os.Getenv)}
	want := reference(s.app())
	if have == want {
		return
	}
	if os.Getenv("TRTACT_UPDATE_SNAPSHOTS") != "1" {
		t.Fatal("docs/configuration.md does not list the commands and flags as they are: run `make update-snapshots`")
	}
	if err := os.WriteFile(path, []byte(before+referenceBegin+want+referenceEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reference is a table of flags for the program and for every command.
func reference(app *urfave.App) string {
	var b strings.Builder
	b.WriteString("### Every command\n\n")
	referenceTable(&b, app.Flags)
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n```\n%s\n```\n", c.Name, capital(c.Usage), c.UsageText)
		for _, group := range groupsOf(c.Flags, flagGroup) {
			b.WriteString("\n")
			if group.title != "Flags" {
				fmt.Fprintf(&b, "%s:\n\n", group.title)
			}
			referenceTable(&b, group.items)
		}
	}
	return b.String()
}

func referenceTable(b *strings.Builder, flags []urfave.Flag) {
	b.WriteString("| flag | meaning | default |\n|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`)
	for _, row := range flagRows(flags) {
		meaning, value := row[1], ""
		if at := strings.LastIndex(meaning, "(default"); at >= 0 && strings.HasSuffix(meaning, ")") {
			value = strings.TrimLeft(meaning[at+len("(default"):len(meaning)-1], ": ")
			meaning = strings.TrimSpace(meaning[:at])
		}
		// A meaning that begins with the placeholder has lost it.
		if words := strings.Fields(row[0]); !strings.HasPrefix(words[len(words)-1], "-") && !strings.Contains(meaning, words[len(words)-1]) {
			meaning = words[len(words)-1] + " " + meaning
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", row[0], cell.Replace(meaning), cell.Replace(value))
	}
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
