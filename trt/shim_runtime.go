package trt

// The half of a shim that runs engines, in Go's form; see shim.go.

/*
#include <stdlib.h>
#include "trtact/tensorrt.h"

static int32_t session_open(const trtact_trt_runtime_api* t, trtact_trt_library* l, const trtact_trt_session_options* o, trtact_trt_session** out, trtact_trt_error* e) {
  return t->open(l, o, out, e);
}
static void session_close(const trtact_trt_runtime_api* t, trtact_trt_session* s) { t->close(s); }
static int32_t session_io_count(const trtact_trt_runtime_api* t, trtact_trt_session* s) { return t->io_count(s); }
static void session_io(const trtact_trt_runtime_api* t, trtact_trt_session* s, int32_t i, trtact_trt_io* out) { t->io(s, i, out); }
static void* session_memory(const trtact_trt_runtime_api* t, trtact_trt_session* s, int32_t i, size_t* bytes) { return t->memory(s, i, bytes); }
static uint64_t session_device_bytes(const trtact_trt_runtime_api* t, trtact_trt_session* s) { return t->device_bytes(s); }
static int32_t session_run(const trtact_trt_runtime_api* t, trtact_trt_session* s, trtact_trt_error* e) { return t->run(s, e); }
static int32_t session_time(const trtact_trt_runtime_api* t, trtact_trt_session* s, const trtact_trt_time_options* o, trtact_trt_block* out, trtact_trt_error* e) {
  return t->time(s, o, out, e);
}
static int32_t session_profile(const trtact_trt_runtime_api* t, trtact_trt_session* s, int32_t n, const trtact_trt_layer_time** out, int32_t* count, trtact_trt_error* e) {
  return t->profile(s, n, out, count, e);
}
static int32_t session_inspect(const trtact_trt_runtime_api* t, trtact_trt_session* s, const char** json, trtact_trt_error* e) { return t->inspect(s, json, e); }
*/
import "C"

import (
	"log/slog"
	"runtime"
	"time"
	"unsafe"
)

// loaded is an engine on a device. Close it before its library.
type loaded struct {
	table   *C.trtact_trt_runtime_api
	handle  *C.trtact_trt_session
	cleanup runtime.Cleanup
}

func (l *library) load(engine []byte, o loading, log string) (*loaded, error) {
	table := l.shim.table.runtime
	if table == nil || table.table_size != C.sizeof_trtact_trt_runtime_api {
		return nil, &shimError{statusNoLibrary, "open " + l.shim.path + ": it cannot run engines: make build"}
	}
	var mem arena
	defer mem.free()
	options := (*C.trtact_trt_session_options)(mem.zeroed(C.sizeof_trtact_trt_session_options))
	options.struct_size = C.sizeof_trtact_trt_session_options
	options.device, options.contexts, options.profile = C.int32_t(o.Device), C.int32_t(o.Contexts), C.int32_t(o.Profile)
	options.engine, options.engine_bytes = mem.bytes(engine), C.size_t(len(engine))
	options.shapes, options.n_shapes = mem.shapes(o.Shapes), C.int32_t(len(o.Shapes))
	options.layers = flag(o.Layers)
	options.log_path, options.log_level = mem.string(log), C.TRTACT_TRT_LOG_INFO

	var handle *C.trtact_trt_session
	var e C.trtact_trt_error
	if err := result(C.session_open(table, l.handle, options, &handle, &e), &e); err != nil {
		return nil, err
	}
	s := &loaded{table: table, handle: handle}
	s.cleanup = runtime.AddCleanup(s, func(h *C.trtact_trt_session) {
		slog.Warn("a loaded engine was not closed")
		C.session_close(table, h)
	}, handle)
	return s, nil
}

func (s *loaded) close() {
	s.cleanup.Stop()
	C.session_close(s.table, s.handle)
	s.handle = nil
}

// tensors lists inputs and outputs with the numbers that memory takes.
func (s *loaded) tensors() (inputs, outputs []Tensor) {
	for i := range C.session_io_count(s.table, s.handle) {
		var io C.trtact_trt_io
		C.session_io(s.table, s.handle, i, &io)
		tensor := Tensor{Name: C.GoString(io.name), Type: typeName(int(io._type)), Dims: dims(io.dims)}
		if io.is_input != 0 {
			inputs = append(inputs, tensor)
		} else {
			outputs = append(outputs, tensor)
		}
	}
	return inputs, outputs
}

// memory is that of an input or output in the order of tensors, inputs first.
func (s *loaded) memory(i int) []byte {
	var n C.size_t
	p := C.session_memory(s.table, s.handle, C.int32_t(i), &n)
	return unsafe.Slice((*byte)(p), int(n))
}

func (s *loaded) deviceBytes() int64 { return int64(C.session_device_bytes(s.table, s.handle)) }

func (s *loaded) run() error {
	var e C.trtact_trt_error
	return result(C.session_run(s.table, s.handle, &e), &e)
}

func (s *loaded) time(o TimeOptions) (Block, error) {
	options := C.trtact_trt_time_options{
		struct_size:  C.sizeof_trtact_trt_time_options,
		warm_up:      C.int32_t(o.WarmUp),
		iterations:   C.int64_t(o.Iterations),
		milliseconds: C.double(float64(o.Duration) / float64(time.Millisecond)),
		max_samples:  maxIterations,
		streams:      C.int32_t(o.Streams),
		in_flight:    C.int32_t(o.InFlight),
		graph:        flag(o.Graph),
		no_transfers: flag(o.NoTransfers),
		spin:         flag(o.Spin),
	}
	var c C.trtact_trt_block
	var e C.trtact_trt_error
	if err := result(C.session_time(s.table, s.handle, &options, &c, &e), &e); err != nil {
		return Block{}, err
	}
	b := Block{Wall: float64(c.wall), Graphed: c.graphed != 0, Note: C.GoString(c.note)}
	for _, s := range unsafe.Slice(c.samples, int(c.count)) {
		b.Samples = append(b.Samples, Sample{
			Start: float64(s.start), Enqueue: float64(s.enqueue), H2D: float64(s.h2d),
			GPU: float64(s.gpu), D2H: float64(s.d2h), EndToEnd: float64(s.end_to_end),
		})
	}
	return b, nil
}

func (s *loaded) profile(iterations int) ([]LayerTime, error) {
	var list *C.trtact_trt_layer_time
	var count C.int32_t
	var e C.trtact_trt_error
	if err := result(C.session_profile(s.table, s.handle, C.int32_t(iterations), &list, &count, &e), &e); err != nil {
		return nil, err
	}
	var times []LayerTime
	for _, l := range unsafe.Slice(list, int(count)) {
		times = append(times, LayerTime{Name: C.GoString(l.name), Milliseconds: float64(l.milliseconds)})
	}
	return times, nil
}

// inspect is TensorRT's account of the engine, JSON.
func (s *loaded) inspect() (string, error) {
	var text *C.char
	var e C.trtact_trt_error
	if err := result(C.session_inspect(s.table, s.handle, &text, &e), &e); err != nil {
		return "", err
	}
	return C.GoString(text), nil
}

func (a *arena) shapes(shapes map[string][]int) *C.trtact_trt_shape {
	p := (*C.trtact_trt_shape)(a.zeroed(len(shapes) * C.sizeof_trtact_trt_shape))
	i := 0
	for name, sizes := range shapes {
		c := &unsafe.Slice(p, len(shapes))[i]
		c.input, c.dims = a.string(name), cDims(sizes)
		i++
	}
	return p
}
