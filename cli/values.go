// Values that flags have in common: sizes, targets, names from a fixed list,
// files that must exist.

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/atomicfile"
	"trtact/internal/collective"
	"trtact/internal/detect"
	"trtact/internal/fault"
	"trtact/internal/job"
)

// choices is the fixed list of values of the flag name, whatever command has
// it; nil when the flag takes any value.
func choices(flag string) []string {
	switch flag {
	case "log-format":
		return []string{"text", "json"}
	case "family":
		return detect.Families()
	case "backend":
		return []string{"auto", "tensorrt", "rtx"}
	case "format":
		return []string{"table", "json", "csv", "markdown", "html"}
	case "collective":
		return collective.Engines()
	case "onnx-weights":
		return []string{"float", "int8"}
	}
	return nil
}

// maxSide bounds a picture's side: above it no detector of the families works,
// and the memory asked for would be a mistake.
const maxSide = 16384

// parseSize reads "HxW" or one number for both, in pixels.
func parseSize(text string) (height, width int, err error) {
	h, w, two := strings.Cut(strings.ToLower(text), "x")
	if !two {
		w = h
	}
	height, herr := strconv.Atoi(h)
	width, werr := strconv.Atoi(w)
	if herr != nil || werr != nil {
		return 0, 0, fmt.Errorf("size %q: expected HxW such as 640x640, or one number", text)
	}
	if height < 1 || width < 1 || height > maxSide || width > maxSide {
		return 0, 0, fmt.Errorf("size %q: each side must be from 1 to %d", text, maxSide)
	}
	return height, width, nil
}

func parseDuration(text string) (time.Duration, error) { return time.ParseDuration(text) }

// needFile checks that path is a file that can be opened, before anything long
// begins. What path is the argument of is for the message.
func needFile(what, path string) error {
	if err := needPath(what, path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fault.BadInput(fmt.Errorf("%s %s: %w", what, path, cause(err)))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fault.BadInput(fmt.Errorf("%s %s: it is a folder, expected a file", what, path))
	}
	return nil
}

// needPath checks that path exists, file or folder.
func needPath(what, path string) error {
	if _, err := os.Stat(path); err != nil {
		return fault.BadInput(fmt.Errorf("%s %s: %w", what, path, cause(err)))
	}
	return nil
}

// output is a file that a command writes, and the flag that names it or what it is named
// after.
type output struct{ flag, path string }

// needOutputs checks, before anything long begins, that the files can be written, and that
// none of them is another or one that the command line names besides. Those without a path
// are left out.
func needOutputs(c *urfave.Context, outputs ...output) error {
	command := c.Command.Name
	outputs = slices.DeleteFunc(outputs, func(o output) bool { return o.path == "" })
	others := namedBesides(c, outputs)
	for _, o := range outputs {
		if err := atomicfile.Check(o.path); err != nil {
			return usage(command, "%s: %v", o.flag, err)
		}
		for _, other := range others {
			if job.SamePath(o.path, other.path) {
				return usage(command, "%s %s would overwrite %s", o.flag, o.path, other.what)
			}
		}
		others = append(others, besides{"what " + o.flag + " writes", o.path})
	}
	return nil
}

// besides is a file that the command line names, and what it is there.
type besides struct{ what, path string }

// namedBesides are the arguments and the values of flags on the command line, without those
// of outputs.
func namedBesides(c *urfave.Context, outputs []output) (list []besides) {
	for i, text := range c.Args().Slice() {
		what := "the file " + text
		if i == 0 {
			what = "the model " + text
		}
		list = append(list, besides{what, text})
	}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if !c.IsSet(name) || slices.ContainsFunc(outputs, func(o output) bool { return o.flag == "--"+name }) {
			continue
		}
		if text, ok := c.Value(name).(string); ok && text != "" {
			list = append(list, besides{"the file of --" + name, text})
		}
	}
	return list
}

// needOutputDir is the first half of needOutputs for a folder of files.
func needOutputDir(command, flag, dir string) error {
	if err := atomicfile.CheckDir(dir); err != nil {
		return usage(command, "%s: %v", flag, err)
	}
	return nil
}

// cause is a file error without the system call and the path, which the message
// has already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// checkPatterns says which of patterns is no regular expression.
func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := regexp.Compile(p); err != nil {
			return fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	return nil
}
