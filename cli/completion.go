// trtact completion: scripts with which a shell completes commands, flags and
// the values of flags that have a fixed list. They are made from the same
// definitions as the help and hold no call back to this program, so completing
// costs no start of a process.

package cli

import (
	"fmt"
	"io"
	"strings"

	urfave "github.com/urfave/cli/v2"
)

func (s *session) completionCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "completion",
		Usage:     "completion script for bash, zsh or fish",
		UsageText: "trtact completion bash|zsh|fish",
		Category:  groupMachine,
		Description: `Prints a script that makes the shell complete the commands and flags of trtact.

Examples:
source <(trtact completion bash)
trtact completion zsh > "${fpath[1]}/_trtact"
trtact completion fish > ~/.config/fish/completions/trtact.fish`,
		Action: func(c *urfave.Context) error {
			if err := takes(c, 1, 1, "the shell: bash, zsh or fish"); err != nil {
				return err
			}
			write, ok := map[string]func([]completed, []completedFlag) string{
				"bash": bashScript, "zsh": zshScript, "fish": fishScript,
			}[c.Args().First()]
			if !ok {
				return usage("completion", "no completion for the shell %q; there is one for bash, zsh and fish", c.Args().First())
			}
			commands, global := completions(c.App)
			script := write(commands, global)
			return s.print(map[string]string{"shell": c.Args().First(), "script": script}, func() error {
				_, err := io.WriteString(s.out, script)
				return err
			})
		},
	}
}

// completed is a command as a shell needs to know it.
type completed struct {
	name, usage string
	flags       []completedFlag
	words       []string // what its positional arguments may be; nil for files
}

type completedFlag struct {
	names  []string // with their dashes
	usage  string
	value  bool     // takes a value
	values []string // which; nil for files
}

func completions(app *urfave.App) ([]completed, []completedFlag) {
	var commands []completed
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		d := completed{name: c.Name, usage: c.Usage, flags: completedFlags(c.Flags)}
		if c.Name == "completion" {
			d.words = []string{"bash", "zsh", "fish"}
		}
		commands = append(commands, d)
	}
	help := completedFlag{names: []string{"--help", "-h"}, usage: "show help"}
	return commands, append(completedFlags(app.Flags), help)
}

func completedFlags(flags []urfave.Flag) []completedFlag {
	var out []completedFlag
	for _, f := range flags {
		var d completedFlag
		for _, name := range f.Names() {
			if len(name) == 1 {
				d.names = append(d.names, "-"+name)
			} else {
				d.names = append(d.names, "--"+name)
			}
		}
		if doc, ok := f.(urfave.DocGenerationFlag); ok {
			_, d.usage = splitPlaceholder(doc.GetUsage())
			d.value = doc.TakesValue()
		}
		d.values = choices(f.Names()[0])
		if f.Names()[0] == "device" {
			d.values = []string{"auto", "cpu", "cuda"}
		}
		out = append(out, d)
	}
	return out
}

func allNames(flags []completedFlag) []string {
	var names []string
	for _, f := range flags {
		names = append(names, f.names...)
	}
	return names
}

func bashScript(commands []completed, global []completedFlag) string {
	var out strings.Builder
	out.WriteString(`# bash completion of trtact
_trtact() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="" command="" i
  (( COMP_CWORD > 0 )) && prev="${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  for (( i = 1; i < COMP_CWORD; i++ )); do
    case "${COMP_WORDS[i]}" in
`)
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	fmt.Fprintf(&out, "      %s) command=\"${COMP_WORDS[i]}\"; break ;;\n    esac\n  done\n", strings.Join(names, "|"))
	out.WriteString("  local flags=\"" + strings.Join(allNames(global), " ") + "\" words=\"\"\n")
	out.WriteString("  case \"$command\" in\n")
	fmt.Fprintf(&out, "    \"\") words=\"%s\" ;;\n", strings.Join(names, " "))
	for _, c := range commands {
		fmt.Fprintf(&out, "    %s) flags+=\" %s\"; words=\"%s\" ;;\n", c.name, strings.Join(allNames(c.flags), " "), strings.Join(c.words, " "))
	}
	out.WriteString("  esac\n  case \"$command:$prev\" in\n")
	write := func(pattern string, flags []completedFlag) {
		for _, f := range flags {
			if !f.value {
				continue
			}
			var patterns []string
			for _, n := range f.names {
				patterns = append(patterns, pattern+n)
			}
			action := "COMPREPLY=( $(compgen -f -- \"$cur\") )"
			if f.values != nil {
				action = fmt.Sprintf("COMPREPLY=( $(compgen -W %q -- \"$cur\") )", strings.Join(f.values, " "))
			}
			fmt.Fprintf(&out, "    %s) %s; return ;;\n", strings.Join(patterns, "|"), action)
		}
	}
	for _, c := range commands {
		write(c.name+":", c.flags)
	}
	write("*:", global)
	out.WriteString(`  esac
  if [[ "$cur" == -* ]]; then
    COMPREPLY=( $(compgen -W "$flags" -- "$cur") )
  elif [[ -n "$words" ]]; then
    COMPREPLY=( $(compgen -W "$words" -- "$cur") )
  else
    COMPREPLY=( $(compgen -f -- "$cur") )
  fi
}
complete -o filenames -F _trtact trtact
`)
	return out.String()
}

func zshScript(commands []completed, global []completedFlag) string {
	var out strings.Builder
	out.WriteString("#compdef trtact\n\n_trtact() {\n  local -a commands=(\n")
	for _, c := range commands {
		fmt.Fprintf(&out, "    %s\n", quote(c.name+":"+c.usage))
	}
	out.WriteString("  )\n  local -a common=(\n")
	zshFlags(&out, global)
	out.WriteString("  )\n  local command=\"\" word\n  for word in \"${(@)words[2,CURRENT-1]}\"; do\n")
	out.WriteString("    if (( ${commands[(I)${word}:*]} )); then command=\"$word\"; break; fi\n  done\n")
	out.WriteString("  case \"$command\" in\n    \"\")\n      _arguments \"${common[@]}\" '1:command:{_describe command commands}' ;;\n")
	for _, c := range commands {
		fmt.Fprintf(&out, "    %s)\n      local -a own=(\n", c.name)
		zshFlags(&out, c.flags)
		rest := "_files"
		if c.words != nil {
			rest = "(" + strings.Join(c.words, " ") + ")"
		}
		fmt.Fprintf(&out, "      )\n      _arguments \"${common[@]}\" \"${own[@]}\" '1:command:' '*:argument:%s' ;;\n", rest)
	}
	out.WriteString("  esac\n}\n\nif [[ \"${funcstack[1]}\" == _trtact ]]; then\n  _trtact \"$@\"\nelse\n  compdef _trtact trtact\nfi\n")
	return out.String()
}

func zshFlags(out *strings.Builder, flags []completedFlag) {
	escape := strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`)
	for _, f := range flags {
		for _, name := range f.names {
			spec := fmt.Sprintf("*%s[%s]", name, escape.Replace(f.usage))
			if f.value {
				values := "_files"
				if f.values != nil {
					values = "(" + strings.Join(f.values, " ") + ")"
				}
				spec += ":value:" + values
			}
			fmt.Fprintf(out, "    %s\n", quote(spec))
		}
	}
}

func fishScript(commands []completed, global []completedFlag) string {
	var out strings.Builder
	out.WriteString("# fish completion of trtact\ncomplete -c trtact -e\n")
	fishFlags(&out, "", global)
	for _, c := range commands {
		fmt.Fprintf(&out, "complete -c trtact -f -n __fish_use_subcommand -a %s -d %s\n", c.name, quote(c.usage))
	}
	for _, c := range commands {
		condition := "-n " + quote("__fish_seen_subcommand_from "+c.name) + " "
		fishFlags(&out, condition, c.flags)
		if c.words != nil {
			fmt.Fprintf(&out, "complete -c trtact -f %s-a %s\n", condition, quote(strings.Join(c.words, " ")))
		}
	}
	return out.String()
}

func fishFlags(out *strings.Builder, condition string, flags []completedFlag) {
	for _, f := range flags {
		out.WriteString("complete -c trtact " + condition)
		for _, name := range f.names {
			if long, ok := strings.CutPrefix(name, "--"); ok {
				out.WriteString("-l " + long + " ")
			} else {
				out.WriteString("-s " + name[1:] + " ")
			}
		}
		if f.value {
			out.WriteString("-r ")
		}
		if f.values != nil {
			out.WriteString("-f -a " + quote(strings.Join(f.values, " ")) + " ")
		}
		out.WriteString("-d " + quote(f.usage) + "\n")
	}
}

// quote puts text in single quotes, as all three shells read them.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
