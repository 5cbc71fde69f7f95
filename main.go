// Command trtact turns a trained detector (ONNX) and a folder of pictures into
// a TensorRT INT8 engine and measures what that costs in accuracy.
package main

import (
	"os"

	"trtact/cli"
)

// version is what version control calls this tree; the Makefile sets it.
var version string

func main() { os.Exit(cli.Main(os.Args, version)) }
