package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trtact/internal/fault"
	"trtact/internal/report"
	"trtact/trt"
)

// TestMain is the program's hidden child where a test looks for TensorRT: that
// starts the running executable again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == trt.ChildCommand {
		os.Exit(Main(os.Args, ""))
	}
	os.Exit(m.Run())
}

// ran is what a run of the program left.
type ran struct {
	code     int
	out, err string
}

// run runs the program in this process with no terminal and no environment.
func run(t *testing.T, args ...string) ran {
	t.Helper()
	return runContext(t, context.Background(), args...)
}

func runContext(t *testing.T, ctx context.Context, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	code := Run(ctx, append([]string{"trtact"}, args...), Streams{
		In: strings.NewReader(""), Out: &out, Err: &errs,
		Getenv: func(string) string { return "" },
	})
	return ran{code, out.String(), errs.String()}
}

// snapshot compares text with a file of testdata; TRTACT_UPDATE_SNAPSHOTS=1
// writes the file instead.
func snapshot(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("TRTACT_UPDATE_SNAPSHOTS") == "1" {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (`make update-snapshots` writes it)", err)
	}
	if text == string(want) {
		return
	}
	got, old := strings.Split(text, "\n"), strings.Split(string(want), "\n")
	for i := 0; i < max(len(got), len(old)); i++ {
		a, b := "(nothing)", "(nothing)"
		if i < len(got) {
			a = got[i]
		}
		if i < len(old) {
			b = old[i]
		}
		if a != b {
			t.Fatalf("%s, line %d:\n got %q\nwant %q\n(`make update-snapshots` accepts)", path, i+1, a, b)
		}
	}
}

func visibleCommands() []string {
	var names []string
	s := &session{out: &bytes.Buffer{}, screen: report.NewScreen(&bytes.Buffer{}, os.Getenv)}
	for _, c := range s.app().Commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestHelp(t *testing.T) {
	for _, name := range append([]string{""}, visibleCommands()...) {
		args, file := []string{"--help"}, "help.txt"
		if name != "" {
			args, file = []string{name, "--help"}, "help-"+name+".txt"
		}
		r := run(t, args...)
		if r.code != 0 || r.err != "" {
			t.Errorf("%v: exit %d, %q", args, r.code, r.err)
		}
		for _, line := range strings.Split(r.out, "\n") {
			if report.Width(line) > 80 {
				t.Errorf("%v: line of %d columns: %s", args, report.Width(line), line)
			}
		}
		snapshot(t, file, r.out)
		if name != "" {
			for _, other := range [][]string{{"help", name}, {"--help", name}, {name, "x", "-h"}} {
				if again := run(t, other...); again.out != r.out || again.code != 0 {
					t.Errorf("%v gives another help than %v", other, args)
				}
			}
		}
	}
}

func TestEveryCommandIsUsable(t *testing.T) {
	s := &session{out: &bytes.Buffer{}, screen: report.NewScreen(&bytes.Buffer{}, os.Getenv)}
	for _, c := range s.app().Commands {
		if c.Usage == "" || c.Description == "" || c.Category == "" || c.Action == nil {
			t.Errorf("%s lacks usage, description, category or action", c.Name)
		}
		if !strings.HasPrefix(c.UsageText, "trtact "+c.Name) {
			t.Errorf("%s: usage line %q", c.Name, c.UsageText)
		}
	}
}

// Wrong use: exit 2, nothing on standard output, one line that helps.
func TestBadUse(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"vesion", "did you mean version?"},
		{"xyzzy", `unknown command "xyzzy"`},
		{"model.onnx", "trtact build model.onnx"},
		{"help vers", "did you mean version?"},
		{"--jsno version", "did you mean --json?"},
		{"version --nonsense-flag", "unknown flag --nonsense-flag"},
		{"--watch gpu", "stands before the command"},
		{"version --watch", "`trtact gpu` has it"},
		{"version --seed", "--seed needs a value"},
		{"version --seed --json", "--seed needs a value and --json is a flag"},
		{"version --seed one", `--seed "one": expected a whole number`},
		{"version --threads 1.5", `--threads "1.5": expected a whole number`},
		{"version --threads -1", "--threads -1: expected 0"},
		{"version --threads 99999999999999999999", "expected a whole number"},
		{"version --json=maybe", "expected --json"},
		{"version --log-format xml", "choose one of text, json"},
		{"version --log-format jsn", "did you mean json?"},
		{"version --device tpu", `--device "tpu": expected auto, cpu, cuda or cuda:N`},
		{"version --device cpu:1", "expected auto, cpu, cuda or cuda:N"},
		{"version --device cuda:x", "expected a device number"},
		{"version --quiet --verbose", "exclude each other"},
		{"version extra", `version takes no argument, got "extra"`},
		{"version -- --json", `version takes no argument, got "--json"`},
		{"version -5", `version takes no argument, got "-5"`},
		{"version -", `version takes no argument, got "-"`},
		{"completion", "completion needs the shell"},
		{"completion tcsh", `no completion for the shell "tcsh"`},
		{"completion bash zsh", `got "zsh" beyond that`},
		{"gpu --watch --json", "exclude each other"},
		{"--json", "no command given"},
		{"--seed 3", "no command given"},
		{"version --=x", "unknown flag --=x"},
	} {
		r := run(t, strings.Fields(c.args)...)
		if r.code != fault.CodeUsage || r.out != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("trtact %s: exit %d, stdout %q, stderr %q; want exit 2 and %q", c.args, r.code, r.out, r.err, c.want)
		}
		if strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "trtact: ") || !strings.Contains(r.err, "--help") {
			t.Errorf("trtact %s: not one helpful line: %q", c.args, r.err)
		}
	}
}

// The same line in any order is the same run.
func TestFlagsAnywhere(t *testing.T) {
	want := run(t, "version", "--json")
	if want.code != 0 || !json.Valid([]byte(want.out)) {
		t.Fatalf("exit %d: %s", want.code, want.out)
	}
	for _, args := range []string{
		"--json version", "-json version", "version --json=true", "version --seed -3 --json",
		"--seed=-3 version --json --", "--quiet --json version", "version -q --json", "--json --version",
		"version --seed 0x10 --json", "-- version --json",
	} {
		got := run(t, strings.Fields(args)...)
		if args == "-- version --json" { // behind "--" nothing is a flag
			if got.code != fault.CodeUsage {
				t.Errorf("trtact %s: exit %d", args, got.code)
			}
			continue
		}
		if got != want {
			t.Errorf("trtact %s: exit %d, %q, %q", args, got.code, got.out, got.err)
		}
	}
}

func TestErrorAsJSONLine(t *testing.T) {
	r := run(t, "version", "x", "--log-format", "json", "--json")
	var line struct{ Level, Msg string }
	if err := json.Unmarshal([]byte(r.err), &line); err != nil || line.Level != "ERROR" || !strings.Contains(line.Msg, "takes no argument") {
		t.Errorf("stderr %q: %v", r.err, err)
	}
	if r.code != fault.CodeUsage || r.out != "" {
		t.Errorf("exit %d, stdout %q", r.code, r.out)
	}
}
