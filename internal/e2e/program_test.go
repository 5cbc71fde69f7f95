package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trtact/internal/testenv"
)

// Longest that one run may take. A refusal comes at once on a quiet machine; the
// rest is for machines that are busy with other things.
const (
	refusalLimit = 30 * time.Second
	workLimit    = 3 * time.Minute
	ladderLimit  = 12 * time.Minute // of several such
)

// program is the built program. The test skips where there is none.
func program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(testenv.Root(), "build", "trtact")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("skipped: needs the built program (`make build`): %v", err)
	}
	testenv.Libraries(t)
	return path
}

// ran is what a run of the program left.
type ran struct {
	args     []string
	code     int
	out, err string
	spent    time.Duration
}

// command is a run of the program in the folder dir with no terminal.
func command(t testing.TB, ctx context.Context, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, program(t), args...)
	cmd.Dir = dir
	return cmd
}

// run runs the program in the folder dir and waits for its end.
func run(t testing.TB, limit time.Duration, dir string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := command(t, ctx, dir, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	r := ran{args: args, out: out.String(), err: errs.String(), spent: time.Since(start)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("trtact %s: no end within %v\n%s", strings.Join(args, " "), limit, r.err)
	case errors.As(err, &exit):
		r.code = exit.ExitCode() // -1 when a signal ended it
	case err != nil:
		t.Fatal(err)
	}
	return r
}

// lastLine is the last line on standard error: the error itself.
func (r ran) lastLine() string {
	lines := strings.Split(strings.TrimRight(r.err, "\n"), "\n")
	return lines[len(lines)-1]
}

// expectRefusal checks a run that had to fail: the exit code, nothing on
// standard output, one line on standard error that says every word, no trace.
func (r ran) expectRefusal(t testing.TB, code int, words ...string) {
	t.Helper()
	line := "trtact " + strings.Join(r.args, " ")
	if r.code != code {
		t.Errorf("%s\nexit code %d, want %d: %s", line, r.code, code, r.err)
		return
	}
	if r.out != "" {
		t.Errorf("%s\nprinted %q on standard output", line, r.out)
	}
	if strings.Count(r.err, "\n") != 1 {
		t.Errorf("%s\nwant one line on standard error, got:\n%s", line, r.err)
	}
	r.expectError(t, words...)
}

// expectError checks the last line on standard error; warnings may stand above.
func (r ran) expectError(t testing.TB, words ...string) {
	t.Helper()
	last := r.lastLine()
	if !strings.HasPrefix(last, "trtact: ") {
		t.Errorf("trtact %s\nthe error does not name the program: %s", strings.Join(r.args, " "), last)
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			t.Errorf("trtact %s\nthe error does not say %q: %s", strings.Join(r.args, " "), word, last)
		}
	}
	for _, sign := range []string{"goroutine ", "panic", "internal error", "SIGSEGV", "terminate called"} {
		if strings.Contains(r.err, sign) {
			t.Errorf("trtact %s\na crash shows:\n%s", strings.Join(r.args, " "), r.err)
		}
	}
}

// expectJSON checks a run that had to succeed with --json: exactly one object on
// standard output, which is read into value.
func (r ran) expectJSON(t testing.TB, value any) {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("trtact %s\nexit code %d: %s", strings.Join(r.args, " "), r.code, r.err)
	}
	d := json.NewDecoder(strings.NewReader(r.out))
	if !strings.HasPrefix(r.out, "{") {
		t.Fatalf("trtact %s\nstandard output is no JSON object: %.200s", strings.Join(r.args, " "), r.out)
	}
	if err := d.Decode(value); err != nil {
		t.Fatalf("trtact %s\n%v: %.200s", strings.Join(r.args, " "), err, r.out)
	}
	if d.More() {
		t.Errorf("trtact %s\nmore than one JSON value on standard output", strings.Join(r.args, " "))
	}
}

// contents is every file, folder and link below dir with a hash of what it holds.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		list[name] = d.Type().String()
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			list[name] = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// expectSame checks that nothing below dir was added, changed or removed.
func expectSame(t testing.TB, dir string, before map[string]string) {
	t.Helper()
	after := contents(t, dir)
	for name, hash := range after {
		switch old, known := before[name]; {
		case !known:
			t.Errorf("left behind: %s", name)
		case old != hash:
			t.Errorf("changed: %s", name)
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			t.Errorf("removed: %s", name)
		}
	}
}

// write makes a file of the folder dir and gives its path.
func write(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// pictures are the first n calibration images of the data folder.
func pictures(t testing.TB, n int) []string {
	t.Helper()
	list := strings.Fields(string(read(t, testenv.Data(t, "coco", "train.txt"))))
	for i := range list {
		list[i] = testenv.Data(t, "coco", list[i])
	}
	return list[:n]
}

// listFile writes a list of the first n calibration images.
func listFile(t testing.TB, dir string, n int) string {
	t.Helper()
	return write(t, dir, fmt.Sprintf("first%d.txt", n), []byte(strings.Join(pictures(t, n), "\n")+"\n"))
}
