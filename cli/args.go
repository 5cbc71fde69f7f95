// The order of arguments. urfave/cli stops reading flags at the first
// positional argument and knows global flags only before the command. Here
// flags may stand anywhere, so the line is read once by this file, which knows
// every flag and whether it takes a value, and handed on in the one order that
// urfave/cli reads: global flags, command, its flags, "--", positionals.
//
// Reading the line here also lets every complaint name the flag as it was
// typed and say what would be right.

package cli

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/nearest"
)

// arranged is a command line in urfave/cli's order, or a wish for help.
type arranged struct {
	args    []string
	help    bool
	command *urfave.Command // what the help is about; nil for the program
}

func arrange(args []string, app *urfave.App) (arranged, error) {
	r := reader{app: app}
	rest := args
	if len(rest) > 0 {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return arranged{help: true}, nil
	}
	for len(rest) > 0 {
		var err error
		if rest, err = r.next(rest); err != nil {
			return arranged{}, err
		}
	}
	if r.helpCommand { // "trtact help [COMMAND]"
		r.help = true
		if len(r.positionals) > 0 {
			if r.command = app.Command(r.positionals[0]); r.command == nil || r.command.Hidden {
				return arranged{}, unknownCommand(app, r.positionals[0])
			}
		}
	}
	if r.help {
		return arranged{help: true, command: r.command}, nil
	}
	if r.command == nil {
		return arranged{}, usage("", "no command given")
	}
	out := append([]string{app.Name}, r.globals...)
	out = append(append(out, r.command.Name), r.flags...)
	out = append(append(out, "--"), r.positionals...)
	return arranged{args: out, command: r.command}, nil
}

// reader takes a command line apart, token by token.
type reader struct {
	app         *urfave.App
	command     *urfave.Command
	helpCommand bool
	help        bool
	literal     bool // behind "--"
	globals     []string
	flags       []string
	positionals []string
}

// next reads one argument, or a flag with its value, and returns what is left.
func (r *reader) next(rest []string) ([]string, error) {
	token, rest := rest[0], rest[1:]
	if r.literal || !strings.HasPrefix(token, "-") || token == "-" || r.isNumber(token) {
		return rest, r.positional(token)
	}
	if token == "--" {
		r.literal = true
		return rest, nil
	}
	name, value, inline := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(token, "-"), "-"), "=")
	if name == "h" || name == "help" {
		r.help = true
		return rest, nil
	}
	if name == "version" && r.command == nil && !inline {
		r.command = r.app.Command("version")
		return rest, nil
	}
	flag, global := r.find(name)
	if flag == nil {
		return nil, r.unknownFlag(token, name)
	}
	if !takesValue(flag) {
		if inline {
			if _, err := strconv.ParseBool(value); err != nil {
				return nil, r.usage("%s: expected --%s, --%s=true or --%s=false", token, name, name, name)
			}
		} else {
			value = "true"
		}
	} else {
		if !inline {
			if len(rest) == 0 {
				return nil, r.usage("%s needs a value", token)
			}
			value, rest = rest[0], rest[1:]
			if typed := r.typedFlag(value); typed {
				return nil, r.usage("%s needs a value and %s is a flag; if %s is meant as the value, write %s=%s", token, value, value, token, value)
			}
		}
		if err := r.check(flag, value); err != nil {
			return nil, err
		}
	}
	word := "--" + flag.Names()[0] + "=" + value
	if global {
		r.globals = append(r.globals, word)
	} else {
		r.flags = append(r.flags, word)
	}
	return rest, nil
}

func (r *reader) positional(token string) error {
	switch {
	case r.command != nil || r.helpCommand:
		r.positionals = append(r.positionals, token)
	case token == "help" && !r.literal:
		r.helpCommand = true
	default:
		if r.command = r.app.Command(token); r.command == nil {
			return unknownCommand(r.app, token)
		}
	}
	return nil
}

// isNumber tells a negative number from a flag; no flag is named by a number.
func (r *reader) isNumber(token string) bool {
	_, err := strconv.ParseFloat(token, 64)
	return err == nil && strings.ContainsAny(token[1:2], "0123456789.")
}

// typedFlag says whether value is a flag of this line, which as the value of
// another flag is most likely a value forgotten.
func (r *reader) typedFlag(value string) bool {
	if !strings.HasPrefix(value, "-") || len(value) < 2 || r.isNumber(value) {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimLeft(value, "-"), "=")
	flag, _ := r.find(name)
	return flag != nil || name == "help" || name == "h"
}

// find looks for a flag among the command's and then the global ones.
func (r *reader) find(name string) (flag urfave.Flag, global bool) {
	if r.command != nil {
		for _, f := range r.command.Flags {
			if slices.Contains(f.Names(), name) {
				return f, false
			}
		}
	}
	for _, f := range r.app.Flags {
		if slices.Contains(f.Names(), name) {
			return f, true
		}
	}
	return nil, false
}

func (r *reader) unknownFlag(token, name string) error {
	var known []string
	flags := r.app.Flags
	if r.command != nil {
		flags = slices.Concat(r.command.Flags, flags)
	}
	for _, f := range flags {
		known = append(known, f.Names()[0])
	}
	for _, c := range r.app.Commands {
		for _, f := range c.Flags {
			if !c.Hidden && slices.Contains(f.Names(), name) {
				if r.command == nil {
					return r.usage("flag %s stands before the command; a command's flags come after its name", token)
				}
				return r.usage("%s has no flag %s; `trtact %s` has it", r.command.Name, token, c.Name)
			}
		}
	}
	if near := nearest.Word(name, known); near != "" {
		return r.usage("unknown flag %s; did you mean --%s?", token, near)
	}
	return r.usage("unknown flag %s", token)
}

// check looks at a value's form, so that the message is about what was typed.
func (r *reader) check(flag urfave.Flag, value string) error {
	name := flag.Names()[0]
	switch flag.(type) {
	case *urfave.IntFlag, *urfave.Int64Flag:
		if _, err := strconv.ParseInt(value, 0, 64); err != nil {
			return r.usage("--%s %q: expected a whole number", name, value)
		}
	case *urfave.Float64Flag:
		if v, err := strconv.ParseFloat(value, 64); err != nil || v != v {
			return r.usage("--%s %q: expected a number", name, value)
		}
	case *urfave.DurationFlag:
		if _, err := parseDuration(value); err != nil {
			return r.usage("--%s %q: expected a duration such as 10s or 500ms", name, value)
		}
	}
	if options := choices(name); options != nil && !slices.Contains(options, value) {
		if near := nearest.Word(value, options); near != "" {
			return r.usage("--%s %q is not known; did you mean %s?", name, value, near)
		}
		return r.usage("--%s %q is not known; choose one of %s", name, value, strings.Join(options, ", "))
	}
	return nil
}

func (r *reader) usage(format string, args ...any) error {
	command := ""
	if r.command != nil {
		command = r.command.Name
	}
	return usage(command, format, args...)
}

func unknownCommand(app *urfave.App, word string) error {
	var known []string
	for _, c := range app.Commands {
		if !c.Hidden {
			known = append(known, c.Name)
		}
	}
	if near := nearest.Word(word, known); near != "" {
		return usage("", "unknown command %q; did you mean %s?", word, near)
	}
	if strings.HasSuffix(strings.ToLower(filepath.Ext(word)), ".onnx") {
		return usage("", "%q is a file, not a command; for a build: trtact build %s", word, word)
	}
	return usage("", "unknown command %q", word)
}

func takesValue(f urfave.Flag) bool {
	d, ok := f.(urfave.DocGenerationFlag)
	return ok && d.TakesValue()
}
