// Package cli is the command line: it reads flags, calls the packages that do
// the work and prints what they return. Nothing is computed here.
//
// Results go to standard output, everything else (progress, log lines, errors)
// to standard error. The kind of an error (package fault) decides the exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"trtact/internal/collective"
	"trtact/internal/fault"
	"trtact/internal/job"
	"trtact/internal/report"
	"trtact/trt"
)

// Streams is what the program reads from and writes to.
type Streams struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(name string) string
	Build  string // what version control calls the tree this was built from
}

// session is one run of the program: its streams and global options.
type session struct {
	ctx     context.Context
	out     io.Writer
	in      io.Reader
	screen  *report.Screen
	width   int // columns of standard output
	log     *slog.Logger
	build   string
	command []string // the command line as it was given
	getenv  func(name string) string
	member
	globals
}

// Main runs the program with the process's arguments, streams and signals and
// returns its exit code. build is what version control calls the program's
// source.
func Main(args []string, build string) int {
	if len(args) > 1 && args[1] == trt.ChildCommand {
		return trt.RunChild(os.Stdin, os.Stderr)
	}
	said := io.Writer(os.Stderr)
	if l, err := collective.FromEnv(os.Getenv); err == nil && l.Rank > 0 {
		said = io.Discard // process 0 says it
	}
	ctx, stop := withInterrupt(context.Background(), said)
	defer stop()
	return Run(ctx, args, Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Build: build})
}

// Run runs the program with args (the program's name first) and returns its
// exit code. Cancelling ctx interrupts the command.
func Run(ctx context.Context, args []string, std Streams) (code int) {
	s := &session{
		ctx:     ctx,
		out:     std.Out,
		in:      std.In,
		screen:  report.NewScreen(std.Err, std.Getenv),
		width:   report.Columns(std.Out, std.Getenv),
		build:   std.Build,
		command: args,
		getenv:  std.Getenv,
	}
	s.logFormat = logFormatOf(args) // for what goes wrong before all are read
	s.log = report.NewLogger(s.screen, slog.LevelInfo, s.logFormat == "json", s.screen.Color)
	defer func() {
		if p := recover(); p != nil {
			s.log.Debug("stack", "trace", string(debug.Stack()))
			code = s.fail(fmt.Errorf("internal error: %v; please report it with the command line", p))
		}
	}()
	app := s.app()
	line, err := arrange(args, app)
	if err != nil {
		return s.fail(err)
	}
	if line.help {
		if err := writeHelp(s.out, app, line.command); err != nil {
			return s.fail(err)
		}
		return fault.CodeOK
	}
	if err := app.RunContext(ctx, line.args); err != nil {
		return s.fail(err)
	}
	return fault.CodeOK
}

// fail prints err as one line and returns its exit code. An interrupted run is
// interrupted, whatever the stage it was in made of that.
func (s *session) fail(err error) int {
	var training *job.Interrupted // that can be gone on with
	code, text := fault.Code(err), err.Error()
	switch {
	case errors.As(err, &training) && errors.Is(err, context.Canceled):
		code, text = fault.CodeInterrupted, training.Error()
	case s.ctx.Err() != nil && errors.Is(err, context.Canceled):
		code, text = fault.CodeInterrupted, "interrupted"
	}
	if s.silent(err) {
		return code
	}
	if s.helps {
		text = fmt.Sprintf("process %d of %d: %s", s.launch.Rank, s.launch.Size, text)
	}
	s.printError(text)
	return code
}

// logFormatOf is the --log-format of a command line that may be wrong.
func logFormatOf(args []string) string {
	for i, a := range args {
		if a == "--log-format" && i+1 < len(args) {
			return args[i+1]
		}
		if value, ok := strings.CutPrefix(a, "--log-format="); ok {
			return value
		}
	}
	return ""
}

func (s *session) printError(text string) {
	if s.logFormat == "json" {
		s.log.Error(report.OneLine(text))
		return
	}
	fmt.Fprintf(s.screen, "trtact: %s\n", report.OneLine(text))
}

// app is the program as urfave/cli sees it. Help, completion and the order of
// arguments are this package's own, so those parts of urfave/cli are off.
func (s *session) app() *urfave.App {
	return &urfave.App{
		Name:                      "trtact",
		Usage:                     "trained detector and pictures in, TensorRT INT8 engine and its proof out",
		Flags:                     globalFlags(),
		Commands:                  s.commands(),
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Writer:                    s.out,
		ErrWriter:                 s.screen,
		ExitErrHandler:            func(*urfave.Context, error) {},
		OnUsageError: func(_ *urfave.Context, err error, _ bool) error {
			return fault.Usage(err)
		},
		Before: func(c *urfave.Context) error {
			g, err := readGlobals(c)
			if err != nil {
				return err
			}
			s.globals = g
			s.log = report.NewLogger(s.screen, g.level(), g.logFormat == "json", s.screen.Color)
			slog.SetDefault(s.log) // packages that warn have no session
			return nil
		},
	}
}

// print writes value as JSON when --json asks for it, else calls text.
func (s *session) print(value any, text func() error) error {
	if s.json {
		return report.JSON(s.out, value)
	}
	return text()
}

// table prints t on standard output.
func (s *session) table(t *report.Table) error { return t.Write(s.out, s.width) }

// progress starts the progress of a stage; nil, which shows nothing, with
// --quiet.
func (s *session) progress(stage string, total int, unit string) *report.Progress {
	if s.quiet {
		return nil
	}
	return report.NewProgress(s.screen, func(line string) { s.log.Info(line) }, stage, total, unit)
}

// usage is an error of wrong use that says where the right use is written.
func usage(command, format string, args ...any) error {
	see := "trtact --help"
	if command != "" {
		see = "trtact " + command + " --help"
	}
	return fault.Usage(fmt.Errorf(format+" (see "+see+")", args...))
}
