// Package onnxpb is ONNX's file format in Go, generated from onnx.proto by
// protoc 3.21 and protoc-gen-go v1.36.6.
package onnxpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative onnx.proto
