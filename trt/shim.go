package trt

// The only file that talks to C: it opens a shim (csrc/include/trtact/tensorrt.h)
// and gives its handles Go's form. It runs in the child process.

/*
#cgo CFLAGS: -I${SRCDIR}/../csrc/include
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include "trtact/tensorrt.h"

typedef const trtact_trt_api* (*open_function)(uint32_t abi);
static const trtact_trt_api* call_open(void* f) { return ((open_function)f)(TRTACT_TRT_ABI); }

static int32_t library_open(const trtact_trt_api* t, char** folders, int32_t n, int32_t loader, trtact_trt_library** out, trtact_trt_error* e) {
  return t->library_open((const char* const*)folders, n, loader, out, e);
}
static void library_close(const trtact_trt_api* t, trtact_trt_library* l) { t->library_close(l); }
static void library_version(const trtact_trt_api* t, trtact_trt_library* l, int32_t* v) { t->library_version(l, v); }
static const char* library_path(const trtact_trt_api* t, trtact_trt_library* l) { return t->library_path(l); }
static int32_t probe(const trtact_trt_api* t, trtact_trt_library* l, const char* log, trtact_trt_error* e) { return t->probe(l, log, e); }
static int32_t build(const trtact_trt_api* t, trtact_trt_library* l, const trtact_trt_build_options* o, trtact_trt_engine** out, trtact_trt_error* e) {
  return t->build(l, o, out, e);
}
static void engine_release(const trtact_trt_api* t, trtact_trt_engine* g) { t->engine_release(g); }
static const void* engine_data(const trtact_trt_api* t, trtact_trt_engine* g, size_t* n) { return t->engine_data(g, n); }
static int32_t engine_io_count(const trtact_trt_api* t, trtact_trt_engine* g) { return t->engine_io_count(g); }
static void engine_io(const trtact_trt_api* t, trtact_trt_engine* g, int32_t i, trtact_trt_io* out) { t->engine_io(g, i, out); }
static int32_t engine_layer_count(const trtact_trt_api* t, trtact_trt_engine* g) { return t->engine_layer_count(g); }
static void engine_layer(const trtact_trt_api* t, trtact_trt_engine* g, int32_t i, trtact_trt_layer* out) { t->engine_layer(g, i, out); }
static int32_t engine_inspect(const trtact_trt_api* t, trtact_trt_library* l, trtact_trt_engine* g, const char** json, trtact_trt_error* e) {
  return t->engine_inspect(l, g, json, e);
}
static const void* engine_timings(const trtact_trt_api* t, trtact_trt_engine* g, size_t* n) { return t->engine_timings(g, n); }
static int64_t live(const trtact_trt_api* t) { return t->live(); }

static void default_signals(void) {
  signal(SIGSEGV, SIG_DFL);
  signal(SIGBUS, SIG_DFL);
  signal(SIGFPE, SIG_DFL);
  signal(SIGILL, SIG_DFL);
  signal(SIGABRT, SIG_DFL);
}
*/
import "C"

import (
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"unsafe"
)

const (
	statusFailed    = int(C.TRTACT_TRT_FAILED)
	statusInvalid   = int(C.TRTACT_TRT_INVALID)
	statusNoLibrary = int(C.TRTACT_TRT_NO_LIBRARY)
	statusNoDevice  = int(C.TRTACT_TRT_NO_DEVICE)
	statusBadModel  = int(C.TRTACT_TRT_BAD_MODEL)
)

// shimError is a status other than OK with the call's text.
type shimError struct {
	status int
	text   string
}

func (e *shimError) Error() string { return e.text }

func result(status C.int32_t, e *C.trtact_trt_error) error {
	if status == C.TRTACT_TRT_OK {
		return nil
	}
	return &shimError{int(status), C.GoString(&e.text[0])}
}

// defaultSignals lets a crash in TensorRT end the process by its signal, where
// Go's own handlers would print stack traces and exit with status 2.
func defaultSignals() { C.default_signals() }

// shim is one libtrtact_trt_*.so. It stays loaded.
type shim struct {
	table *C.trtact_trt_api
	path  string
}

func openShim(path string) (*shim, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	symbol := C.CString("trtact_trt_open")
	defer C.free(unsafe.Pointer(symbol))

	// dlerror belongs to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	handle := C.dlopen(name, C.RTLD_NOW|C.RTLD_LOCAL)
	if handle == nil {
		return nil, &shimError{statusNoLibrary, "open " + path + ": " + C.GoString(C.dlerror())}
	}
	function := C.dlsym(handle, symbol)
	if function == nil {
		return nil, &shimError{statusNoLibrary, "open " + path + ": " + C.GoString(C.dlerror())}
	}
	table := C.call_open(function)
	if table == nil || table.abi != C.TRTACT_TRT_ABI || table.table_size != C.sizeof_trtact_trt_api {
		return nil, &shimError{statusNoLibrary, "open " + path + ": it belongs to another version of this program: make build"}
	}
	return &shim{table, path}, nil
}

func (s *shim) family() Family {
	t := s.table
	f := Family{
		Name:             C.GoString(t.family),
		Title:            C.GoString(t.name),
		Backend:          BackendTensorRT,
		Shim:             s.path,
		Headers:          fmt.Sprintf("%d.%d.%d", t.headers[0], t.headers[1], t.headers[2]),
		WeakTypes:        t.features&C.TRTACT_TRT_WEAK_TYPES != 0,
		CalibrationCache: t.features&C.TRTACT_TRT_CALIBRATION_CACHE != 0,
	}
	for _, a := range []struct {
		feature C.uint32_t
		name    string
	}{
		{C.TRTACT_TRT_LAYER_TYPES, CanLayerTypes},
		{C.TRTACT_TRT_TIMING_CACHE, CanTimingCache},
		{C.TRTACT_TRT_OPTIMIZATION_LEVEL, CanOptimizationLevel},
		{C.TRTACT_TRT_SPARSE_WEIGHTS, CanSparseWeights},
		{C.TRTACT_TRT_VERSION_COMPATIBLE, CanVersionCompatible},
		{C.TRTACT_TRT_AMPERE_PLUS_ENGINES, CanAmperePlus},
		{C.TRTACT_TRT_SAME_CAPABILITY_ENGINES, CanSameCapability},
	} {
		if t.features&a.feature != 0 {
			f.Can = append(f.Can, a.name)
		}
	}
	for _, name := range TacticSourceNames() {
		if uint32(t.tactic_sources)&sourceBits[name] != 0 {
			f.TacticSources = append(f.TacticSources, name)
		}
	}
	if t.features&C.TRTACT_TRT_TARGETS != 0 {
		f.Backend = BackendRTX
		for _, target := range unsafe.Slice(t.targets, int(t.n_targets)) {
			f.Targets = append(f.Targets, int(target))
		}
	}
	return f
}

// live counts the handles that the shim has given out and not got back.
func (s *shim) live() int { return int(C.live(s.table)) }

// library is TensorRT, opened.
type library struct {
	shim    *shim
	handle  *C.trtact_trt_library
	cleanup runtime.Cleanup
}

func (s *shim) open(folders []string, loader bool) (*library, error) {
	var mem arena
	defer mem.free()
	list := mem.strings(folders)
	var handle *C.trtact_trt_library
	var e C.trtact_trt_error
	if err := result(C.library_open(s.table, list, C.int32_t(len(folders)), flag(loader), &handle, &e), &e); err != nil {
		return nil, err
	}
	l := &library{shim: s, handle: handle}
	l.cleanup = runtime.AddCleanup(l, func(h *C.trtact_trt_library) {
		slog.Warn("a TensorRT library was not closed")
		C.library_close(s.table, h)
	}, handle)
	return l, nil
}

func (l *library) close() {
	l.cleanup.Stop()
	C.library_close(l.shim.table, l.handle)
	l.handle = nil
}

func (l *library) version() string {
	var v [3]C.int32_t
	C.library_version(l.shim.table, l.handle, &v[0])
	return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
}

func (l *library) path() string { return C.GoString(C.library_path(l.shim.table, l.handle)) }

// probe is nil when the library can build here.
func (l *library) probe(log string) error {
	var mem arena
	defer mem.free()
	var e C.trtact_trt_error
	return result(C.probe(l.shim.table, l.handle, mem.string(log), &e), &e)
}

// built is a serialised engine and its network, in C memory. Close it before
// its library.
type built struct {
	library *library
	handle  *C.trtact_trt_engine
	cleanup runtime.Cleanup
}

// build makes an engine. timings is the timing cache to begin with, which may be
// empty; the options say whether one is kept at all.
func (l *library) build(model, timings []byte, o BuildOptions, log string) (*built, error) {
	var mem arena
	defer mem.free()
	options := (*C.trtact_trt_build_options)(mem.zeroed(C.sizeof_trtact_trt_build_options))
	options.struct_size = C.sizeof_trtact_trt_build_options
	options.onnx, options.onnx_bytes = mem.bytes(model), C.size_t(len(model))
	options.fp16, options.int8 = flag(o.FP16), flag(o.INT8)
	if o.CalibrationCache != nil {
		options.calibration_cache = mem.bytes(o.CalibrationCache)
		options.calibration_cache_bytes = C.size_t(len(o.CalibrationCache))
	}
	options.no_tf32 = flag(o.NoTF32)
	options.optimization_level = -1
	if o.OptimizationLevel != nil {
		options.optimization_level = C.int32_t(*o.OptimizationLevel)
	}
	options.verbosity = C.TRTACT_TRT_NAMES
	if o.Detailed {
		options.verbosity = C.TRTACT_TRT_DETAILED
	}
	options.workspace_bytes = C.uint64_t(max(o.Workspace, 0))
	options.targets, options.n_targets = mem.ints(o.Targets), C.int32_t(len(o.Targets))
	options.profiles, options.n_profiles = mem.profiles(o.Shapes), C.int32_t(len(o.Shapes))
	options.log_path = mem.string(log)
	options.layer_types, options.n_layer_types = mem.layerTypes(o.LayerTypes), C.int32_t(len(o.LayerTypes))
	if o.TimingCache != "" {
		options.keep_timings = 1
		options.timing_cache, options.timing_cache_bytes = mem.bytes(timings), C.size_t(len(timings))
	}
	on, off, err := tacticSources(o.TacticSources)
	if err != nil {
		return nil, err
	}
	options.sources_on, options.sources_off = C.uint32_t(on), C.uint32_t(off)
	options.version_compatible = flag(o.VersionCompatible)
	switch o.HardwareCompatible {
	case AmperePlus:
		options.hardware_compatible = C.TRTACT_TRT_AMPERE_PLUS
	case SameCapability:
		options.hardware_compatible = C.TRTACT_TRT_SAME_CAPABILITY
	}
	options.refit, options.sparse_weights = flag(o.Refit), flag(o.SparseWeights)
	options.log_level = C.TRTACT_TRT_LOG_INFO
	if o.Verbose {
		options.log_level = C.TRTACT_TRT_LOG_VERBOSE
	}

	var handle *C.trtact_trt_engine
	var e C.trtact_trt_error
	if err := result(C.build(l.shim.table, l.handle, options, &handle, &e), &e); err != nil {
		return nil, err
	}
	b := &built{library: l, handle: handle}
	table := l.shim.table
	b.cleanup = runtime.AddCleanup(b, func(h *C.trtact_trt_engine) {
		slog.Warn("a built engine was not closed")
		C.engine_release(table, h)
	}, handle)
	return b, nil
}

func (b *built) close() {
	b.cleanup.Stop()
	C.engine_release(b.library.shim.table, b.handle)
	b.handle = nil
}

// data is the engine's bytes, valid until close.
func (b *built) data() []byte {
	var n C.size_t
	p := C.engine_data(b.library.shim.table, b.handle, &n)
	return unsafe.Slice((*byte)(p), int(n))
}

// timings is the timing cache after the build, nil where none was asked for; valid
// until close.
func (b *built) timings() []byte {
	var n C.size_t
	p := C.engine_timings(b.library.shim.table, b.handle, &n)
	return unsafe.Slice((*byte)(p), int(n))
}

func (b *built) tensors() (inputs, outputs []Tensor) {
	t := b.library.shim.table
	for i := range C.engine_io_count(t, b.handle) {
		var io C.trtact_trt_io
		C.engine_io(t, b.handle, i, &io)
		tensor := Tensor{Name: C.GoString(io.name), Type: typeName(int(io._type)), Dims: dims(io.dims)}
		if io.is_input != 0 {
			inputs = append(inputs, tensor)
		} else {
			outputs = append(outputs, tensor)
		}
	}
	return inputs, outputs
}

func (b *built) layers() []Layer {
	t := b.library.shim.table
	layers := make([]Layer, C.engine_layer_count(t, b.handle))
	for i := range layers {
		var c C.trtact_trt_layer
		C.engine_layer(t, b.handle, C.int32_t(i), &c)
		layers[i] = Layer{
			Name:      C.GoString(c.name),
			Kind:      C.GoString(c.kind),
			Type:      typeName(int(c._type)),
			Dims:      dims(c.dims),
			Quantized: c.quantized != 0,
			Weights:   int64(c.weights),
		}
		if c.weights > 0 {
			layers[i].WeightType = typeName(int(c.weight_type))
		}
	}
	return layers
}

// inspect is TensorRT's account of the engine, JSON. It needs the GPU.
func (b *built) inspect() (string, error) {
	var text *C.char
	var e C.trtact_trt_error
	status := C.engine_inspect(b.library.shim.table, b.library.handle, b.handle, &text, &e)
	if err := result(status, &e); err != nil {
		return "", err
	}
	return C.GoString(text), nil
}

func dims(d C.trtact_trt_dims) []int {
	list := make([]int, max(int(d.rank), 0))
	for i := range list {
		list[i] = int(d.size[i])
	}
	return list
}

func flag(on bool) C.int32_t {
	if on {
		return 1
	}
	return 0
}

// arena is the C memory of one call's arguments: structs that point to each
// other may not lie in Go's memory.
type arena struct{ blocks []unsafe.Pointer }

func (a *arena) free() {
	for _, p := range a.blocks {
		C.free(p)
	}
}

// zeroed is n bytes of zeros. cgo's C.malloc ends the process when memory is out.
func (a *arena) zeroed(n int) unsafe.Pointer {
	n = max(n, 1)
	p := C.malloc(C.size_t(n))
	clear(unsafe.Slice((*byte)(p), n))
	a.blocks = append(a.blocks, p)
	return p
}

func (a *arena) bytes(data []byte) unsafe.Pointer {
	p := a.zeroed(len(data))
	copy(unsafe.Slice((*byte)(p), len(data)), data)
	return p
}

func (a *arena) string(s string) *C.char {
	return (*C.char)(a.bytes(append([]byte(s), 0)))
}

func (a *arena) strings(list []string) **C.char {
	p := (**C.char)(a.zeroed(len(list) * int(unsafe.Sizeof((*C.char)(nil)))))
	for i, s := range list {
		unsafe.Slice(p, len(list))[i] = a.string(s)
	}
	return p
}

func (a *arena) ints(list []int) *C.int32_t {
	p := (*C.int32_t)(a.zeroed(len(list) * int(unsafe.Sizeof(C.int32_t(0)))))
	for i, n := range list {
		unsafe.Slice(p, len(list))[i] = C.int32_t(n)
	}
	return p
}

func (a *arena) profiles(shapes map[string]Profile) *C.trtact_trt_profile {
	p := (*C.trtact_trt_profile)(a.zeroed(len(shapes) * C.sizeof_trtact_trt_profile))
	i := 0
	for name, shape := range shapes {
		c := &unsafe.Slice(p, len(shapes))[i]
		c.input = a.string(name)
		c.min, c.opt, c.max = cDims(shape.Min), cDims(shape.Opt), cDims(shape.Max)
		i++
	}
	return p
}

func (a *arena) layerTypes(types map[string]string) *C.trtact_trt_layer_type {
	p := (*C.trtact_trt_layer_type)(a.zeroed(len(types) * C.sizeof_trtact_trt_layer_type))
	list := unsafe.Slice(p, len(types))
	for i, node := range slices.Sorted(maps.Keys(types)) {
		number, _ := layerType(types[node]) // BuildOptions.check has made sure of it
		list[i].node, list[i]._type = a.string(node), C.int32_t(number)
	}
	return p
}

// cDims takes at most maxRank sizes, as BuildOptions.check has made sure of.
func cDims(list []int) C.trtact_trt_dims {
	d := C.trtact_trt_dims{rank: C.int32_t(len(list))}
	for i, n := range list {
		d.size[i] = C.int64_t(n)
	}
	return d
}
