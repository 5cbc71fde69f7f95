package onnx

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"trtact/internal/fault"
	"trtact/internal/onnx/onnxpb"
)

const (
	// MinOpset and MaxOpset bound the versions of the default operator set
	// that are read.
	MinOpset, MaxOpset = 7, 22
	// maxFile is the size of a protocol buffer that the format's own tools can
	// read; larger weights lie in files of their own.
	maxFile = 1<<31 - 1
)

// Load reads a model and what it keeps in other files of its folder. The graph
// it gives back is whole: every tensor has one producer, nodes are sorted and
// have unique names, Constant nodes and initialisers are in Init, half precision
// has become float32. Anything that is not a model that can be read is an error
// of one line, marked as bad input.
func Load(path string) (*Model, error) {
	m, err := load(path)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read model %s: %w", path, err))
	}
	m.Path = path
	return m, nil
}

// Parse is Load for a file's bytes. dir is the folder in which external data is
// looked for; with "" a model with external data is refused.
func Parse(data []byte, dir string) (*Model, error) {
	m, err := parse(data, dir)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read model: %w", err))
	}
	return m, nil
}

func load(path string) (*Model, error) {
	// Without O_NONBLOCK, opening a pipe would wait for its writer for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, plainCause(err)
	}
	defer f.Close()
	data, err := readWhole(f)
	if err != nil {
		return nil, err
	}
	return parse(data, filepath.Dir(path))
}

// readWhole reads a regular file of bearable size.
func readWhole(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, plainCause(err)
	}
	switch {
	case info.IsDir():
		return nil, errors.New("it is a folder, not an ONNX file")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("its %d bytes are more than the 2 GiB an ONNX file can have; larger weights belong into external data", info.Size())
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, plainCause(err)
	}
	return data, nil
}

// plainCause is what went wrong with a file, without the path, which the
// caller's message has already.
func plainCause(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func parse(data []byte, dir string) (*Model, error) {
	if len(data) == 0 {
		return nil, errors.New("not an ONNX file: it is empty")
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("its %d bytes are more than the 2 GiB an ONNX file can have", len(data))
	}
	if what := foreign(data); what != "" {
		return nil, fmt.Errorf("not an ONNX file: it is %s", what)
	}
	scan := scanner{}
	if err := scan.walk(msgModel, data, 0, 0); err != nil {
		return nil, fmt.Errorf("not an ONNX file: %w", err)
	}
	var pb onnxpb.ModelProto
	options := proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxMessageDepth + 2}
	if err := options.Unmarshal(data, &pb); err != nil {
		return nil, fmt.Errorf("not an ONNX file: %w", err)
	}
	if pb.Graph == nil {
		return nil, errors.New("not an ONNX file: it holds no graph")
	}
	sum := sha256.Sum256(data)

	d := decoder{dir: dir}
	defer d.close()
	m, err := d.model(&pb)
	if err != nil {
		return nil, err
	}
	m.SHA256 = hex.EncodeToString(sum[:])
	if err := verify(m); err != nil {
		return nil, err
	}
	return m, nil
}

// foreign recognises what is often found under a model's name, so that the
// message can say what went wrong before.
func foreign(data []byte) string {
	head := bytes.TrimLeft(data[:min(len(data), 512)], " \t\r\n")
	for _, known := range []struct{ start, what string }{
		{"version https://git-lfs", "the pointer that Git LFS leaves when the file itself was not fetched (git lfs pull)"},
		{"<!DOCTYPE", "a web page"},
		{"<!doctype", "a web page"},
		{"<html", "a web page"},
		{"PK\x03\x04", "a zip archive, perhaps a PyTorch checkpoint that has to be exported to ONNX first"},
		{"\x89HDF", "an HDF5 file"},
		{"ptrt", "a TensorRT engine"},
		{"ftrt", "a TensorRT engine"},
	} {
		if bytes.HasPrefix(head, []byte(known.start)) {
			return known.what
		}
	}
	if isText(head) {
		return "text"
	}
	return ""
}

// isText tells whether bytes are nothing but readable characters. A model never
// is: its first bytes are field tags.
func isText(head []byte) bool {
	for len(head) > 0 {
		r, size := utf8.DecodeRune(head)
		if r == utf8.RuneError && size == 1 && len(head) >= utf8.UTFMax {
			return false
		}
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' {
			return false
		}
		head = head[size:]
	}
	return true
}
