// trtact gpu: what the NVIDIA GPUs of this machine are and do now.

package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"trtact/internal/gpu"
	"trtact/internal/report"
)

// gpuReader is an open gpu.Monitor; tests have one of their own.
type gpuReader interface {
	Read() (gpu.Report, error)
	Close() error
}

const watchEvery = time.Second

func (s *session) gpuCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "gpu",
		Usage:     "the GPUs: memory, load, clocks, temperature, power, processes",
		UsageText: "trtact gpu [--watch]",
		Category:  groupMachine,
		Description: `Shows the NVIDIA GPUs of this machine as the driver's management library (NVML)
reports them. A figure that a GPU does not tell is shown as "-". Without a driver it says so
and exits 3.

Examples:
trtact gpu
trtact gpu --watch
trtact gpu --json | jq '.gpus[].temperature_c'`,
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show anew every second, with the last minutes as graphs, until q or Ctrl-C"},
		},
		Action: func(c *urfave.Context) error {
			if err := takes(c, 0, 0, ""); err != nil {
				return err
			}
			if c.Bool("watch") && s.json {
				return usage("gpu", "--watch and --json exclude each other: --json prints one object")
			}
			m, err := gpu.Open()
			if err != nil {
				return err
			}
			defer m.Close()
			if c.Bool("watch") {
				return s.watchGPUs(m)
			}
			return s.showGPUs(m)
		},
	}
}

func (s *session) showGPUs(m gpuReader) error {
	r, err := m.Read()
	if err != nil {
		return err
	}
	return s.print(r, func() error { return writeGPUs(s.out, r, s.width) })
}

func writeGPUs(w io.Writer, r gpu.Report, width int) error {
	if _, err := fmt.Fprintf(w, "driver %s, CUDA up to %s\n\n", orDash(r.Driver), orDash(r.CUDA)); err != nil {
		return err
	}
	t := report.NewTable(">gpu", "name", ">cap.", ">memory", ">load", ">SM MHz", ">mem MHz", ">temp.", ">power")
	processes := report.NewTable(">gpu", ">pid", "process", "kind", ">memory")
	for _, g := range r.GPUs {
		if g.Problem != "" {
			t.Add(fmt.Sprint(g.Index), orDash(g.Name)+" "+g.Problem)
			continue
		}
		memory, load := "-", "-"
		if g.Memory != nil {
			memory = fmt.Sprintf("%.1f/%.1f GiB", gib(g.Memory.Used), gib(g.Memory.Total))
		}
		if g.Utilization != nil {
			load = fmt.Sprintf("%d %%", g.Utilization.GPU)
		}
		t.Add(fmt.Sprint(g.Index), g.Name, orDash(g.ComputeCapability), memory, load,
			figure(g.Clocks.SM, ""), figure(g.Clocks.Memory, ""), figure(g.Temperature, " °C"), power(g))
		for _, p := range g.Processes {
			used := "-"
			if p.Memory != nil {
				used = report.Bytes(int64(*p.Memory))
			}
			processes.Add(fmt.Sprint(g.Index), fmt.Sprint(p.PID), orDash(p.Name), p.Kind, used)
		}
	}
	if err := t.Write(w, width); err != nil {
		return err
	}
	if processes.Len() == 0 {
		_, err := fmt.Fprintln(w, "\nno process is using a GPU")
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return processes.Write(w, width)
}

func power(g gpu.GPU) string {
	switch {
	case g.Power == nil:
		return "-"
	case g.PowerLimit == nil:
		return fmt.Sprintf("%.0f W", *g.Power)
	}
	return fmt.Sprintf("%.0f/%.0f W", *g.Power, *g.PowerLimit)
}

func gib(n uint64) float64 { return float64(n) / (1 << 30) }

func figure(v *int, unit string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%d%s", *v, unit)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// watchGPUs shows the state every second, on a terminal over the same screen,
// until q, Ctrl-C or the end of the context. Leaving this way is no failure.
func (s *session) watchGPUs(m gpuReader) error {
	keys, restore := s.readKeys()
	defer restore()
	live := false
	if f, ok := s.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		live = true
		io.WriteString(s.out, "\x1b[?1049h\x1b[?25l") // own screen, no cursor
		defer io.WriteString(s.out, "\x1b[?25h\x1b[?1049l")
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	past := newHistory()
	for {
		r, err := m.Read()
		if err != nil {
			return err
		}
		past.add(r)
		if err := s.drawGPUs(r, past, live); err != nil {
			return err
		}
		select {
		case <-s.ctx.Done():
			return nil
		case <-tick.C:
		case key, ok := <-keys:
			if !ok {
				keys = nil // end of input: watch on until interrupted
			} else if key == 'q' || key == 'Q' || key == 3 {
				return nil
			}
		}
	}
}

func (s *session) drawGPUs(r gpu.Report, past *history, live bool) error {
	if !live {
		if err := writeGPUs(s.out, r, s.width); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out)
		return err
	}
	width, height := report.Columns(s.out, os.Getenv), 0 // the window may have changed
	if f, ok := s.out.(*os.File); ok {
		if _, rows, err := term.GetSize(int(f.Fd())); err == nil {
			height = rows
		}
	}
	var text lines
	if err := writeGPUs(&text, r, width); err != nil {
		return err
	}
	if err := past.write(&text, r, width); err != nil {
		return err
	}
	text.cut(height - 2)
	fmt.Fprintf(&text, "\n%s   q quits", time.Now().Format(time.TimeOnly))
	_, err := s.out.Write(text.screen())
	return err
}

// lines collects text for a terminal in raw mode: it is drawn from the top left
// corner, each line's rest cleared, without a flicker in between.
type lines struct{ text []byte }

func (l *lines) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	return len(p), nil
}

// cut leaves so many lines, that the screen does not scroll; 0 or less: all.
func (l *lines) cut(most int) {
	if most <= 0 {
		return
	}
	for i, b := range l.text {
		if b == '\n' {
			if most--; most == 0 {
				l.text = l.text[:i+1]
				return
			}
		}
	}
}

func (l *lines) screen() []byte {
	out := []byte("\x1b[H")
	for _, b := range l.text {
		if b == '\n' {
			out = append(out, "\x1b[K\r\n"...)
		} else {
			out = append(out, b)
		}
	}
	return append(out, "\x1b[J"...)
}

// readKeys gives the keys typed on a terminal, each at once and unseen. Input
// that is no terminal gives none.
func (s *session) readKeys() (keys <-chan byte, restore func()) {
	f, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	old, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, func() {}
	}
	typed := make(chan byte)
	go func() { // ends with the process; a read of a terminal cannot be called off
		defer close(typed)
		key := make([]byte, 1)
		for {
			if n, err := f.Read(key); err != nil || n == 0 {
				return
			}
			typed <- key[0]
		}
	}()
	return typed, func() { term.Restore(int(f.Fd()), old) }
}
