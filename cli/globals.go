// The global options: they may stand anywhere on the command line.

package cli

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"
)

type globals struct {
	json      bool
	quiet     bool
	verbose   bool
	logFormat string
	device    device
	threads   int
	seed      int64
}

// device is where to compute: kind "auto", "cpu" or "cuda".
type device struct {
	kind  string
	index int // of a CUDA device
}

func globalFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "json", Usage: "print the result as one JSON object"},
		&urfave.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress, only warnings and errors"},
		&urfave.BoolFlag{Name: "verbose", Usage: "say more of what is being done"},
		&urfave.StringFlag{Name: "log-format", Value: "text", Usage: "`FORM` of lines on standard error"},
		&urfave.StringFlag{Name: "device", Value: "auto", Usage: "`DEVICE` to compute on: auto, cpu, cuda or cuda:N"},
		&urfave.IntFlag{Name: "threads", Usage: "`N` CPU threads, or images at once on a GPU (default: one a core; what suits the GPU)"},
		&urfave.Int64Flag{Name: "seed", Usage: "`N` starts the random numbers (default 0)"},
	}
}

func readGlobals(c *urfave.Context) (globals, error) {
	g := globals{
		json: c.Bool("json"), quiet: c.Bool("quiet"), verbose: c.Bool("verbose"),
		logFormat: c.String("log-format"), threads: c.Int("threads"), seed: c.Int64("seed"),
	}
	var err error
	if g.device, err = parseDevice(c.String("device")); err != nil {
		return g, err
	}
	if g.threads < 0 || g.threads > 4096 {
		return g, usage("", "--threads %d: expected 0 (one a core) to 4096", g.threads)
	}
	if g.quiet && g.verbose {
		return g, usage("", "--quiet and --verbose exclude each other")
	}
	return g, nil
}

func (g globals) level() slog.Level {
	switch {
	case g.quiet:
		return slog.LevelWarn
	case g.verbose:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func parseDevice(text string) (device, error) {
	kind, number, numbered := strings.Cut(text, ":")
	d := device{kind: kind}
	if kind != "auto" && kind != "cpu" && kind != "cuda" || numbered && kind != "cuda" {
		return d, usage("", "--device %q: expected auto, cpu, cuda or cuda:N", text)
	}
	if numbered {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 255 {
			return d, usage("", "--device %q: expected a device number from 0 to 255 after the colon", text)
		}
		d.index = n
	}
	return d, nil
}

func (d device) String() string {
	if d.kind == "cuda" {
		return fmt.Sprintf("cuda:%d", d.index)
	}
	return d.kind
}
