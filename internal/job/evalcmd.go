// A command of the user's that measures a model: it is started without a shell,
// gets the path of an ONNX file and prints a number.

package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"trtact/internal/fault"
	"trtact/internal/onnx"
)

// modelPlace stands in a command for the path of the model.
const modelPlace = "{onnx}"

// EvalCommand is a program and its arguments, some of which hold modelPlace.
type EvalCommand struct {
	Text string   // as it was given
	Args []string // at least one
}

// ParseEvalCommand takes a command line apart: words at blanks, 'as it is', "with
// \" inside", and a backslash that takes the next character as it is. Nothing else
// means anything: no variables, no patterns, no pipes. Fails with fault.Usage,
// also where the program is not there.
func ParseEvalCommand(text string) (*EvalCommand, error) {
	fail := func(format string, a ...any) (*EvalCommand, error) {
		return nil, fault.Usage(fmt.Errorf("evaluation command %q: %w", text, fmt.Errorf(format, a...)))
	}
	args, err := splitWords(text)
	if err != nil {
		return fail("%w", err)
	}
	if len(args) == 0 {
		return fail("it is empty")
	}
	if !strings.Contains(strings.Join(args, " "), modelPlace) {
		return fail("it must contain %s, which stands for the model to measure", modelPlace)
	}
	if _, err := exec.LookPath(args[0]); err != nil && !strings.Contains(args[0], modelPlace) {
		return fail("the program %s is not there or cannot be run", args[0])
	}
	return &EvalCommand{Text: text, Args: args}, nil
}

func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	begun := false // also by an empty pair of quotes
	quote := rune(0)
	escaped := false
	for _, c := range text {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	switch {
	case quote != 0:
		return nil, fmt.Errorf("the quote %c is not closed", quote)
	case escaped:
		return nil, errors.New("nothing follows the last backslash")
	case begun:
		words = append(words, word.String())
	}
	return words, nil
}

// lingering is how long a command that was told to end may take.
const lingering = 3 * time.Second

// Run measures m: the number on the last line that the command prints.
func (e *EvalCommand) Run(ctx context.Context, m *onnx.Model) (float64, error) {
	dir, err := os.MkdirTemp("", "trtact-eval-")
	if err != nil {
		return 0, fmt.Errorf("evaluation command: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.onnx")
	if err := m.Save(path); err != nil {
		return 0, fmt.Errorf("evaluation command: %w", err)
	}
	args := make([]string, len(e.Args))
	for i, a := range e.Args {
		args[i] = strings.ReplaceAll(a, modelPlace, path)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = lingering
	out, errs := &lastBytes{}, &lastBytes{}
	cmd.Stdout, cmd.Stderr = out, errs
	err = cmd.Run()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		text := fmt.Sprintf("evaluation command %q: %v", e.Text, err)
		if line := errs.lastLine(); line != "" {
			text += "; it said: " + line
		}
		return 0, errors.New(text)
	}
	line := out.lastLine()
	value, err := strconv.ParseFloat(line, 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		found := fmt.Sprintf("%q", line)
		if line == "" {
			found = "nothing"
		}
		return 0, fmt.Errorf("evaluation command %q: its last line must be one number, more being better; it printed %s", e.Text, found)
	}
	return value, nil
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct{ tail []byte }

const tailBytes = 4096

func (l *lastBytes) Write(p []byte) (int, error) {
	l.tail = append(l.tail, p[max(0, len(p)-tailBytes):]...)
	if len(l.tail) > 2*tailBytes {
		l.tail = append([]byte(nil), l.tail[len(l.tail)-tailBytes:]...)
	}
	return len(p), nil
}

// lastLine is the last line that is not blank.
func (l *lastBytes) lastLine() string {
	text := bytes.TrimSpace(l.tail)
	return string(bytes.TrimSpace(text[bytes.LastIndexByte(text, '\n')+1:]))
}
