// Testsummary reads the events of `go test -json` and shows what `go test`
// would show without -json: one line a package, and the output of what failed.
// Below it come the reasons of the skipped tests, counted, and one last line
// with the number of tests passed, failed and skipped. So a run on a machine
// that lacks something says how much was not looked at, and why.
//
// It exits 1 when a test or a package failed, or when there was no test at all.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"sort"
	"strings"
)

func main() {
	s, err := summarise(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
	s.print(os.Stdout)
	if s.failed > 0 || s.brokenPackages > 0 || s.passed == 0 {
		os.Exit(1)
	}
}

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// summary counts leaf tests: a test with subtests counts only through them.
type summary struct {
	passed, failed, skipped int
	brokenPackages          int                 // packages that failed without a failing test: did not build, crashed, timed out
	reasons                 map[string][]string // why tests skipped -> their names
}

// summarise copies what a person wants to see from in to out as it arrives.
func summarise(in io.Reader, out io.Writer) (*summary, error) {
	s := &summary{reasons: map[string][]string{}}
	output := map[string][]string{} // package/test -> lines it printed
	parents := map[string]bool{}    // tests that have subtests
	results := map[string]string{}  // package/test -> pass, fail, skip
	failedIn := map[string]int{}    // package -> failing tests
	var order []string

	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text()) // not an event: a message of go itself
			continue
		}
		key := e.Package + "\x00" + e.Test
		switch e.Action {
		case "build-output":
			io.WriteString(out, e.Output)
		case "output":
			if e.Test == "" {
				if e.Output != "PASS\n" {
					io.WriteString(out, e.Output)
				}
				continue
			}
			output[key] = append(output[key], e.Output)
		case "run":
			for p := e.Test; strings.Contains(p, "/"); {
				p = p[:strings.LastIndexByte(p, '/')]
				parents[e.Package+"\x00"+p] = true
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				if e.Action == "fail" && failedIn[e.Package] == 0 {
					s.brokenPackages++
				}
				continue
			}
			results[key] = e.Action
			order = append(order, key)
			if e.Action == "fail" {
				failedIn[e.Package]++
				for _, line := range output[key] {
					if !strings.HasPrefix(line, "=== ") {
						io.WriteString(out, line)
					}
				}
			}
			if e.Action != "skip" {
				delete(output, key)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read test events: %w", err)
	}

	// A test that crashed its package has a start but no end.
	for key := range output {
		if _, ended := results[key]; !ended && !parents[key] {
			pkg, test, _ := strings.Cut(key, "\x00")
			fmt.Fprintf(out, "--- FAIL: %s %s did not end\n%s", pkg, test, strings.Join(output[key], ""))
		}
	}
	for _, key := range order {
		if parents[key] && results[key] != "fail" {
			continue
		}
		switch results[key] {
		case "pass":
			s.passed++
		case "fail":
			if !parents[key] || !childFailed(key, results) {
				s.failed++
			}
		case "skip":
			s.skipped++
			pkg, test, _ := strings.Cut(key, "\x00")
			why := reason(output[key])
			s.reasons[why] = append(s.reasons[why], path.Base(pkg)+"."+test)
		}
	}
	return s, nil
}

func childFailed(key string, results map[string]string) bool {
	for other, result := range results {
		if result == "fail" && strings.HasPrefix(other, key+"/") {
			return true
		}
	}
	return false
}

// place is what t.Skip prints in front of the reason: "    file_test.go:12: ".
var place = regexp.MustCompile(`^\s+\S+\.go:\d+: (?:skipped: )?`)

// reason finds the text given to t.Skip in a test's output.
func reason(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		if at := place.FindString(output[i]); at != "" {
			return strings.TrimSpace(output[i][len(at):])
		}
	}
	return "no reason given"
}

func (s *summary) print(out io.Writer) {
	if s.skipped > 0 {
		fmt.Fprintln(out, "\nskipped:")
	}
	var whys []string
	for why := range s.reasons {
		whys = append(whys, why)
	}
	sort.Strings(whys)
	for _, why := range whys {
		tests := s.reasons[why]
		sample := tests[0]
		if len(tests) > 1 {
			sample += ", ..."
		}
		fmt.Fprintf(out, "%5d  %s  (%s)\n", len(tests), why, sample)
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped", s.passed, s.failed, s.skipped)
	if s.brokenPackages > 0 {
		fmt.Fprintf(out, ", %d packages did not build or crashed", s.brokenPackages)
	}
	fmt.Fprintln(out)
}
