// Package trt builds TensorRT engines and keeps them.
//
// TensorRT may crash, hang or abort on a model it does not like, and there is
// nothing to be done about that from inside its process. So it never runs in
// this one: Build and Find start the program again as a child (ChildCommand)
// that opens TensorRT, answers in a file and ends. A crash there is an error
// here. Only the child, in shim.go, talks to C.
//
// An engine is kept as two files: TensorRT's bytes as they are, and beside them
// a sidecar that says what they are. An engine is code that a GPU will run, so
// Read gives out no engine whose sidecar does not vouch for its bytes.
package trt

// ChildCommand is the hidden first argument with which the program starts
// itself as a child; the program's main function hands over to RunChild when
// it sees it.
const ChildCommand = "__build-engine"
