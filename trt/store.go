package trt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"trtact/internal/atomicfile"
	"trtact/internal/fault"
)

// Limits on what Read takes into memory.
const (
	maxEngineBytes  = 8 << 30
	maxSidecarBytes = 256 << 20
)

// SidecarPath is where the sidecar of the engine at path is.
func SidecarPath(path string) string { return path + ".json" }

// Write stores the engine at path and its sidecar beside it. A run killed
// between the two leaves a pair that does not match, which Read refuses.
func Write(path string, e *Engine) error {
	a := e.Artifact
	a.Format = Format
	a.Engine = File{Name: filepath.Base(path), SHA256: hash(e.Bytes), Bytes: int64(len(e.Bytes))}
	sidecar, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", SidecarPath(path), err)
	}
	if err := atomicfile.Write(path, e.Bytes); err != nil {
		return err
	}
	if err := atomicfile.Write(SidecarPath(path), append(sidecar, '\n')); err != nil {
		return err
	}
	e.Artifact = a
	return nil
}

// Read loads the engine at path when its sidecar vouches for it: same bytes,
// known format. With trust, an engine without a sidecar is taken as it is, and
// its Artifact has no more than Engine. Every refusal is a bad input.
func Read(path string, trust bool) (*Engine, error) {
	data, err := readCapped(path, maxEngineBytes)
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read engine %s: %w", path, err))
	}
	if len(data) == 0 {
		return nil, fault.BadInput(fmt.Errorf("read engine %s: the file is empty", path))
	}
	file := File{Name: filepath.Base(path), SHA256: hash(data), Bytes: int64(len(data))}

	a, err := readSidecar(path)
	if errors.Is(err, fs.ErrNotExist) {
		if trust {
			return &Engine{Bytes: data, Artifact: Artifact{Engine: file}}, nil
		}
		return nil, fault.BadInput(fmt.Errorf("read engine %s: its sidecar %s is missing, so nothing says what it is: "+
			"build it again, or give --trust to a command that runs it, if you know where it comes from", path, SidecarPath(path)))
	}
	if err != nil {
		return nil, fault.BadInput(fmt.Errorf("read engine %s: %w", path, err))
	}
	if a.Engine.SHA256 != file.SHA256 || a.Engine.Bytes != file.Bytes {
		return nil, fault.BadInput(fmt.Errorf("read engine %s: it is not the file its sidecar describes "+
			"(sha256 %.12s, want %.12s): build it again", path, file.SHA256, a.Engine.SHA256))
	}
	a.Engine.Name = file.Name // it may have been renamed since
	return &Engine{Bytes: data, Artifact: *a}, nil
}

func readSidecar(path string) (*Artifact, error) {
	data, err := readCapped(SidecarPath(path), maxSidecarBytes)
	if err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	var head struct {
		Format *int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("sidecar %s is not JSON: %w", SidecarPath(path), err)
	}
	if head.Format == nil {
		return nil, fmt.Errorf("sidecar %s has no format number: it is none of this program's", SidecarPath(path))
	}
	if *head.Format != Format {
		return nil, fmt.Errorf("sidecar %s has format %d, this program reads %d: build the engine again",
			SidecarPath(path), *head.Format, Format)
	}
	a := new(Artifact)
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("sidecar %s: %w", SidecarPath(path), err)
	}
	switch {
	case a.Backend != BackendTensorRT && a.Backend != BackendRTX:
		err = fmt.Errorf("sidecar %s: unknown backend %q", SidecarPath(path), a.Backend)
	case a.Version == "":
		err = fmt.Errorf("sidecar %s does not say which TensorRT built the engine", SidecarPath(path))
	case len(a.Inputs) == 0 || len(a.Outputs) == 0:
		err = fmt.Errorf("sidecar %s lists no inputs or no outputs", SidecarPath(path))
	}
	for _, in := range a.Inputs {
		if p := in.Profile; p != nil && (len(p.Min) != len(in.Dims) || len(p.Opt) != len(in.Dims) || len(p.Max) != len(in.Dims)) {
			err = fmt.Errorf("sidecar %s: the sizes that input %q may have are not of its %d dimensions", SidecarPath(path), in.Name, len(in.Dims))
		}
	}
	return a, err
}

// readCapped reads a regular file of at most limit bytes.
func readCapped(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not make us wait
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, the most taken is %d", path, info.Size(), limit)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("%s changed while it was read: %w", path, err)
	}
	return data, nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
