package job

import (
	"os"
	"testing"

	"trtact/trt"
)

// The test program plays the child in which engines are run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == trt.ChildCommand {
		os.Exit(trt.RunChild(os.Stdin, os.Stderr))
	}
	os.Exit(m.Run())
}
