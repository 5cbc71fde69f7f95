package main

import (
	"strings"
	"testing"
)

func TestSummarise(t *testing.T) {
	const events = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"chatter of a good test\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"run","Package":"m/a","Test":"TestTable"}
{"Action":"run","Package":"m/a","Test":"TestTable/one"}
{"Action":"pass","Package":"m/a","Test":"TestTable/one"}
{"Action":"run","Package":"m/a","Test":"TestTable/two"}
{"Action":"output","Package":"m/a","Test":"TestTable/two","Output":"    a_test.go:9: got 1, want 2\n"}
{"Action":"output","Package":"m/a","Test":"TestTable/two","Output":"--- FAIL: TestTable/two (0.00s)\n"}
{"Action":"fail","Package":"m/a","Test":"TestTable/two"}
{"Action":"fail","Package":"m/a","Test":"TestTable"}
{"Action":"run","Package":"m/a","Test":"TestSkip"}
{"Action":"output","Package":"m/a","Test":"TestSkip","Output":"    a_test.go:20: skipped: needs a GPU\n"}
{"Action":"skip","Package":"m/a","Test":"TestSkip"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a"}
{"ImportPath":"m/b","Action":"build-output","Output":"b.go:3:1: syntax error\n"}
{"Action":"output","Package":"m/b","Output":"FAIL\tm/b [build failed]\n"}
{"Action":"fail","Package":"m/b"}
`
	var out strings.Builder
	s, err := summarise(strings.NewReader(events), &out)
	if err != nil {
		t.Fatal(err)
	}
	s.print(&out)
	text := out.String()
	for _, want := range []string{
		"a_test.go:9: got 1, want 2", "FAIL\tm/a", "b.go:3:1: syntax error",
		"1  needs a GPU  (a.TestSkip)",
		"2 passed, 1 failed, 1 skipped, 1 packages did not build or crashed\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q in:\n%s", want, text)
		}
	}
	for _, unwanted := range []string{"chatter", "=== RUN"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("shows %q in:\n%s", unwanted, text)
		}
	}
}

// A test that takes the whole process with it leaves no result, but must not vanish.
func TestCrash(t *testing.T) {
	const events = `{"Action":"run","Package":"m/a","Test":"TestBoom"}
{"Action":"output","Package":"m/a","Test":"TestBoom","Output":"panic: boom\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a"}
`
	var out strings.Builder
	s, err := summarise(strings.NewReader(events), &out)
	if err != nil {
		t.Fatal(err)
	}
	if s.brokenPackages != 1 || !strings.Contains(out.String(), "panic: boom") {
		t.Errorf("%d broken packages, output:\n%s", s.brokenPackages, out.String())
	}
}
