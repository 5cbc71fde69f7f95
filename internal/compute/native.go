package compute

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc/include
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "trtact/compute.h"

typedef const trtact_backend* (*open_function)(uint32_t);

static const trtact_backend* open_backend(const char* path, void** handle, char* error, size_t n) {
  error[0] = 0;
  *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!*handle) {
    strncpy(error, dlerror(), n - 1);
    return NULL;
  }
  open_function open = (open_function)dlsym(*handle, "trtact_backend_open");
  const trtact_backend* b = open ? open(TRTACT_COMPUTE_ABI) : NULL;
  if (!b || b->table_size != sizeof(trtact_backend)) {
    strncpy(error, "it is of another version of this program", n - 1);
    return NULL;
  }
  return b;
}

// A C function pointer cannot be called from Go: one line for each entry.
static int32_t b_device_open(const trtact_backend* b, int32_t i, trtact_device** d, trtact_error* e) { return b->device_open(i, d, e); }
static void b_device_close(const trtact_backend* b, trtact_device* d) { b->device_close(d); }
static int32_t b_block(const trtact_backend* b, const trtact_device* d) { return b->device_block(d); }
static int32_t b_alloc(const trtact_backend* b, trtact_device* d, size_t n, void** p, trtact_error* e) { return b->alloc(d, n, p, e); }
static void b_release(const trtact_backend* b, trtact_device* d, void* p) { b->release(d, p); }
static int32_t b_upload(const trtact_backend* b, trtact_device* d, void* to, size_t at, const void* from, size_t n, trtact_error* e) { return b->upload(d, (char*)to + at, from, n, e); }
static int32_t b_download(const trtact_backend* b, trtact_device* d, void* to, const void* from, size_t at, size_t n, trtact_error* e) { return b->download(d, to, (const char*)from + at, n, e); }
static int32_t b_copy(const trtact_backend* b, trtact_device* d, void* to, size_t at, const void* from, size_t from_at, size_t n, trtact_error* e) { return b->copy(d, (char*)to + at, (const char*)from + from_at, n, e); }
static int32_t b_memory(const trtact_backend* b, trtact_device* d, size_t* available, size_t* total, trtact_error* e) { return b->memory(d, available, total, e); }
static int32_t b_op_create(const trtact_backend* b, trtact_device* d, const trtact_op_desc* o, int32_t t, trtact_op** op, trtact_error* e) { return b->op_create(d, o, t, op, e); }
static void b_op_release(const trtact_backend* b, trtact_op* o) { b->op_release(o); }
static size_t b_op_workspace(const trtact_backend* b, const trtact_op* o) { return b->op_workspace_bytes(o); }
static const char* b_op_info(const trtact_backend* b, const trtact_op* o) { return b->op_info(o); }
static int32_t b_run(const trtact_backend* b, trtact_device* d, const trtact_step* s, int32_t n, int32_t t, double* sec, trtact_error* e) { return b->run(d, s, n, t, sec, e); }
static int32_t b_absmax(const trtact_backend* b, trtact_device* d, const trtact_tensor* t, const void* x, size_t at, float* out, trtact_error* e) { return b->absmax(d, t, (const float*)((const char*)x + at), out, e); }
static int32_t b_histogram(const trtact_backend* b, trtact_device* d, const trtact_tensor* t, const void* x, size_t at, float u, int64_t* bins, int32_t n, trtact_error* e) { return b->histogram(d, t, (const float*)((const char*)x + at), u, bins, n, e); }
static int32_t b_channel_sums(const trtact_backend* b, trtact_device* d, const trtact_tensor* t, const void* x, size_t at, double* s, trtact_error* e) { return b->channel_sums(d, t, (const float*)((const char*)x + at), s, e); }
static int64_t b_live(const trtact_backend* b) { return b->live(); }

static void set_address(void* list, int32_t i, void* base, size_t at) { ((void**)list)[i] = (char*)base + at; }
*/
import "C"

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"unsafe"
)

// Device is an opened backend with one device. Its methods may be called from
// several goroutines.
type Device struct {
	backend *C.trtact_backend
	handle  *C.trtact_device
	path    string
}

// Open opens device number index of the backend library at path.
func Open(path string, index int) (*Device, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var (
		handle unsafe.Pointer
		text   [512]C.char
	)
	backend := C.open_backend(cpath, &handle, &text[0], C.size_t(len(text)))
	if backend == nil {
		return nil, fmt.Errorf("open compute library %s: %s", path, C.GoString(&text[0]))
	}
	d := &Device{backend: backend, path: path}
	var cerr C.trtact_error
	if C.b_device_open(backend, C.int32_t(index), &d.handle, &cerr) != 0 {
		return nil, fmt.Errorf("open compute device %d of %s: %w", index, path, textOf(&cerr))
	}
	return d, nil
}

// Close gives the device back. Its buffers and operators must be closed before.
func (d *Device) Close() error {
	if d.handle != nil {
		C.b_device_close(d.backend, d.handle)
		d.handle = nil
	}
	return nil
}

// Name is the backend's kind, "cpu" or "cuda".
func (d *Device) Name() string { return C.GoString(d.backend.name) }

// Version says which instruction set and library the backend uses.
func (d *Device) Version() string { return C.GoString(d.backend.version) }

// Path is the library the device was opened from.
func (d *Device) Path() string { return d.path }

// Block is the number of channels that lie together in the Blocked layout.
func (d *Device) Block() int { return int(C.b_block(d.backend, d.handle)) }

// Memory is the device's memory in bytes: what is free now, and all.
func (d *Device) Memory() (available, total int, err error) {
	var a, t C.size_t
	var cerr C.trtact_error
	if C.b_memory(d.backend, d.handle, &a, &t, &cerr) != 0 {
		return 0, 0, textOf(&cerr)
	}
	return int(a), int(t), nil
}

// Live counts the devices, buffers and operators now alive in the library.
func (d *Device) Live() int { return int(C.b_live(d.backend)) }

func textOf(e *C.trtact_error) error { return errors.New(C.GoString(&e.text[0])) }

// Buffer is device memory, 64-byte aligned, zeroed when allocated.
type Buffer struct {
	d       *Device
	p       unsafe.Pointer
	bytes   int
	cleanup runtime.Cleanup
}

// Alloc asks for device memory.
func (d *Device) Alloc(bytes int) (*Buffer, error) {
	var p unsafe.Pointer
	var cerr C.trtact_error
	if C.b_alloc(d.backend, d.handle, C.size_t(bytes), &p, &cerr) != 0 {
		return nil, fmt.Errorf("allocate device memory: %w", textOf(&cerr))
	}
	b := &Buffer{d: d, p: p, bytes: bytes}
	b.cleanup = runtime.AddCleanup(b, leaked, fmt.Sprintf("device buffer of %d bytes", bytes))
	return b, nil
}

func leaked(what string) { slog.Debug("compute: garbage-collected without Close", "what", what) }

// Len is the buffer's size in bytes.
func (b *Buffer) Len() int { return b.bytes }

// Close frees the memory.
func (b *Buffer) Close() {
	if b == nil || b.p == nil {
		return
	}
	b.cleanup.Stop()
	C.b_release(b.d.backend, b.d.handle, b.p)
	b.p = nil
}

// Upload copies data to byte offset at.
func (b *Buffer) Upload(at int, data []float32) error {
	if len(data) == 0 {
		return nil
	}
	if at < 0 || at+4*len(data) > b.bytes {
		return fmt.Errorf("upload of %d bytes at %d leaves a buffer of %d", 4*len(data), at, b.bytes)
	}
	var cerr C.trtact_error
	if C.b_upload(b.d.backend, b.d.handle, b.p, C.size_t(at), unsafe.Pointer(&data[0]), C.size_t(4*len(data)), &cerr) != 0 {
		return fmt.Errorf("upload: %w", textOf(&cerr))
	}
	return nil
}

// Download copies from byte offset at into data.
func (b *Buffer) Download(at int, data []float32) error {
	if len(data) == 0 {
		return nil
	}
	if at < 0 || at+4*len(data) > b.bytes {
		return fmt.Errorf("download of %d bytes at %d leaves a buffer of %d", 4*len(data), at, b.bytes)
	}
	var cerr C.trtact_error
	if C.b_download(b.d.backend, b.d.handle, unsafe.Pointer(&data[0]), b.p, C.size_t(at), C.size_t(4*len(data)), &cerr) != 0 {
		return fmt.Errorf("download: %w", textOf(&cerr))
	}
	return nil
}

// Copy copies bytes from another place of the device's memory to byte offset at.
func (b *Buffer) Copy(at int, from Address, bytes int) error {
	if at < 0 || bytes < 0 || at+bytes > b.bytes || from.At < 0 || from.At+bytes > from.Buffer.bytes || from.Buffer.d != b.d {
		return fmt.Errorf("copy of %d bytes from %d of %d to %d of %d, on one device", bytes, from.At, from.Buffer.bytes, at, b.bytes)
	}
	var cerr C.trtact_error
	if bytes > 0 && C.b_copy(b.d.backend, b.d.handle, b.p, C.size_t(at), from.Buffer.p, C.size_t(from.At), C.size_t(bytes), &cerr) != 0 {
		return fmt.Errorf("copy: %w", textOf(&cerr))
	}
	return nil
}

// Address is a place in a buffer.
type Address struct {
	Buffer *Buffer
	At     int // byte offset
}

func fillTensor(c *C.trtact_tensor, t Tensor) error {
	if len(t.Dims) > MaxRank {
		return fmt.Errorf("tensor of rank %d: at most %d", len(t.Dims), MaxRank)
	}
	c.layout = C.int32_t(t.Layout)
	c.rank = C.int32_t(len(t.Dims))
	for i, d := range t.Dims {
		c.dims[i] = C.int64_t(d)
	}
	return nil
}

// AbsMax is max|x| of a tensor.
func (d *Device) AbsMax(t Tensor, x Address) (float32, error) {
	var ct C.trtact_tensor
	var out C.float
	var cerr C.trtact_error
	if err := fillTensor(&ct, t); err != nil {
		return 0, err
	}
	if C.b_absmax(d.backend, d.handle, &ct, x.Buffer.p, C.size_t(x.At), &out, &cerr) != 0 {
		return 0, textOf(&cerr)
	}
	return float32(out), nil
}

// Histogram adds |x| to len(bins) equal bins over [0, upper]; values above go
// to the last.
func (d *Device) Histogram(t Tensor, x Address, upper float32, bins []int64) error {
	var ct C.trtact_tensor
	var cerr C.trtact_error
	if err := fillTensor(&ct, t); err != nil {
		return err
	}
	if len(bins) == 0 {
		return errors.New("histogram without bins")
	}
	if C.b_histogram(d.backend, d.handle, &ct, x.Buffer.p, C.size_t(x.At), C.float(upper),
		(*C.int64_t)(unsafe.Pointer(&bins[0])), C.int32_t(len(bins)), &cerr) != 0 {
		return textOf(&cerr)
	}
	return nil
}

// ChannelSums adds the sum over everything but dimension 1 to sums, of length C.
func (d *Device) ChannelSums(t Tensor, x Address, sums []float64) error {
	var ct C.trtact_tensor
	var cerr C.trtact_error
	if err := fillTensor(&ct, t); err != nil {
		return err
	}
	if len(t.Dims) < 2 || len(sums) != t.Dims[1] {
		return fmt.Errorf("channel sums of %v: %d places given", t.Dims, len(sums))
	}
	if C.b_channel_sums(d.backend, d.handle, &ct, x.Buffer.p, C.size_t(x.At),
		(*C.double)(unsafe.Pointer(&sums[0])), &cerr) != 0 {
		return textOf(&cerr)
	}
	return nil
}

// Op is an operator made for fixed shapes.
type Op struct {
	d         *Device
	op        *C.trtact_op
	nIn, nOut int
	cleanup   runtime.Cleanup
}

// NewOp makes an operator.
func (d *Device) NewOp(desc OpDesc) (*Op, error) {
	var m arena
	defer m.free()
	c := (*C.trtact_op_desc)(m.alloc(C.sizeof_trtact_op_desc))
	c.kind, c.math = C.int32_t(desc.Params.opKind()), C.int32_t(desc.Math)
	var err error
	if c.inputs, err = tensorList(&m, desc.Inputs); err != nil {
		return nil, err
	}
	if c.outputs, err = tensorList(&m, desc.Outputs); err != nil {
		return nil, err
	}
	c.n_inputs = C.int32_t(len(desc.Inputs))
	c.n_outputs = C.int32_t(len(desc.Outputs))
	if len(desc.Constants) > 0 {
		c.constants = (**C.float)(m.alloc(len(desc.Inputs) * C.sizeof_uintptr_t))
		list := unsafe.Slice(c.constants, len(desc.Inputs))
		for i, value := range desc.Constants {
			if value == nil || i >= len(list) {
				continue
			}
			if len(value) != desc.Inputs[i].Len() {
				return nil, fmt.Errorf("constant input %d has %d values for %v", i, len(value), desc.Inputs[i].Dims)
			}
			list[i] = (*C.float)(unsafe.Pointer(m.floats(value)))
		}
	}
	if err := encodeParams(&m, desc.Params, c); err != nil {
		return nil, err
	}
	switch r := desc.Params.(type) {
	case Resize:
		err = checkTaps(r.Axes, desc.Outputs)
	case ResizeBackward:
		err = checkTaps(r.Axes, desc.Inputs)
	}
	if err != nil {
		return nil, err
	}
	op := &Op{d: d, nIn: len(desc.Inputs), nOut: len(desc.Outputs)}
	var cerr C.trtact_error
	if C.b_op_create(d.backend, d.handle, c, C.int32_t(max(1, desc.Threads)), &op.op, &cerr) != 0 {
		return nil, textOf(&cerr)
	}
	op.cleanup = runtime.AddCleanup(op, leaked, "operator")
	return op, nil
}

// Close frees the operator.
func (o *Op) Close() {
	if o == nil || o.op == nil {
		return
	}
	o.cleanup.Stop()
	C.b_op_release(o.d.backend, o.op)
	o.op = nil
}

// Workspace is the scratch memory one run needs, in bytes.
func (o *Op) Workspace() int { return int(C.b_op_workspace(o.d.backend, o.op)) }

// Info names the implementation that was chosen.
func (o *Op) Info() string { return C.GoString(C.b_op_info(o.d.backend, o.op)) }

// Step is one operator with the places of its tensors. An input that was given
// as a constant has a nil Buffer.
type Step struct {
	Op              *Op
	Inputs, Outputs []Address
	Workspace       Address
}

// Program is a list of steps in C memory, run by one call.
type Program struct {
	d       *Device
	m       arena
	steps   *C.trtact_step
	seconds *C.double
	count   int
	threads int
}

// NewProgram lays out steps for running with that many threads each.
func (d *Device) NewProgram(steps []Step, threads int) (*Program, error) {
	p := &Program{d: d, count: len(steps), threads: max(1, threads)}
	p.steps = (*C.trtact_step)(p.m.alloc(max(1, len(steps)) * C.sizeof_trtact_step))
	p.seconds = (*C.double)(p.m.alloc(8 * max(1, len(steps))))
	for i, c := range unsafe.Slice(p.steps, len(steps)) {
		s := steps[i]
		if len(s.Inputs) != s.Op.nIn || len(s.Outputs) != s.Op.nOut {
			p.Close()
			return nil, fmt.Errorf("step %d has %d inputs and %d outputs, its operator %d and %d",
				i, len(s.Inputs), len(s.Outputs), s.Op.nIn, s.Op.nOut)
		}
		c.op = s.Op.op
		c.inputs = (**C.float)(addresses(&p.m, s.Inputs))
		c.outputs = (**C.float)(addresses(&p.m, s.Outputs))
		if s.Workspace.Buffer != nil {
			C.set_address(unsafe.Pointer(&c.workspace), 0, s.Workspace.Buffer.p, C.size_t(s.Workspace.At))
		}
		unsafe.Slice(p.steps, len(steps))[i] = c
	}
	return p, nil
}

// Len is the number of steps.
func (p *Program) Len() int { return p.count }

// Run runs steps [from, to) in order.
func (p *Program) Run(from, to int) error { return p.run(from, to, nil) }

// RunTimed is Run that adds each step's time in seconds to its entry of total.
func (p *Program) RunTimed(from, to int, total []float64) error { return p.run(from, to, total) }

func (p *Program) run(from, to int, total []float64) error {
	if from < 0 || to > p.count || from >= to {
		return nil
	}
	first := (*C.trtact_step)(unsafe.Add(unsafe.Pointer(p.steps), from*C.sizeof_trtact_step))
	seconds := p.seconds
	if total == nil {
		seconds = nil
	}
	var cerr C.trtact_error
	if C.b_run(p.d.backend, p.d.handle, first, C.int32_t(to-from), C.int32_t(p.threads), seconds, &cerr) != 0 {
		return textOf(&cerr)
	}
	if total != nil {
		for i, s := range unsafe.Slice(p.seconds, to-from) {
			total[from+i] += float64(s)
		}
	}
	return nil
}

// Close frees the list, not the operators or buffers it refers to.
func (p *Program) Close() { p.m.free() }

func addresses(m *arena, list []Address) unsafe.Pointer {
	p := m.alloc(max(1, len(list)) * C.sizeof_uintptr_t)
	for i, a := range list {
		if a.Buffer != nil {
			C.set_address(p, C.int32_t(i), a.Buffer.p, C.size_t(a.At))
		}
	}
	return p
}
