package collective

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc/include
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "trtact/collective.h"

typedef const trtact_collective* (*open_function)(uint32_t);

// MPI libraries open parts of themselves that look for the rest among what is
// global.
static const trtact_collective* open_engine(const char* path, char* error, size_t n) {
  error[0] = 0;
  void* handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!handle) {
    strncpy(error, dlerror(), n - 1);
    return NULL;
  }
  open_function open = (open_function)dlsym(handle, "trtact_collective_open");
  const trtact_collective* c = open ? open(TRTACT_COLLECTIVE_ABI) : NULL;
  if (!c || c->table_size != sizeof(trtact_collective)) {
    strncpy(error, "it is of another version of this program", n - 1);
    return NULL;
  }
  return c;
}

static int32_t c_version(const trtact_collective* c, char* slot, size_t n, trtact_error* e) { return c->version(slot, n, e); }
static int32_t c_make_id(const trtact_collective* c, trtact_collective_id* id, trtact_error* e) { return c->make_id(id, e); }
static int32_t c_join(const trtact_collective* c, const trtact_collective_place* p, trtact_group** g, trtact_error* e) { return c->join(p, g, e); }
static int32_t c_rank(const trtact_collective* c, const trtact_group* g) { return c->rank(g); }
static int32_t c_size(const trtact_collective* c, const trtact_group* g) { return c->size(g); }
static int32_t c_arrive(const trtact_collective* c, trtact_group* g, int32_t ms, int32_t* all, trtact_error* e) { return c->arrive(g, ms, all, e); }
static int32_t c_all_reduce(const trtact_collective* c, trtact_group* g, void* p, size_t n, int32_t type, int32_t op, int32_t memory, trtact_error* e) { return c->all_reduce(g, p, n, type, op, memory, e); }
static int32_t c_broadcast(const trtact_collective* c, trtact_group* g, void* p, size_t n, int32_t root, trtact_error* e) { return c->broadcast(g, p, n, root, e); }
static void c_abandon(const trtact_collective* c, trtact_group* g) { c->abandon(g); }
static void c_leave(const trtact_collective* c, trtact_group* g, int32_t clean) { c->leave(g, clean); }
*/
import "C"

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"
)

// engine is an opened library.
type engine struct {
	table   *C.trtact_collective
	path    string
	version string
}

// id is what the processes of a group have in common.
type id [C.TRTACT_COLLECTIVE_ID_BYTES]byte

// Types and operations of an all-reduce, and where its data lies.
const (
	float32s     = C.TRTACT_COLLECTIVE_FLOAT32
	float64s     = C.TRTACT_COLLECTIVE_FLOAT64
	sum          = C.TRTACT_COLLECTIVE_SUM
	maximum      = C.TRTACT_COLLECTIVE_MAX
	hostMemory   = C.TRTACT_COLLECTIVE_HOST
	deviceMemory = C.TRTACT_COLLECTIVE_DEVICE
)

func openEngine(path string) (*engine, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var text [512]C.char
	table := C.open_engine(cpath, &text[0], C.size_t(len(text)))
	if table == nil {
		return nil, fmt.Errorf("open %s: %s", path, C.GoString(&text[0]))
	}
	e := &engine{table: table, path: path}
	var version [256]C.char
	var cerr C.trtact_error
	if C.c_version(table, &version[0], C.size_t(len(version)), &cerr) != 0 {
		return nil, fmt.Errorf("open %s: %w", path, textOf(&cerr))
	}
	e.version = C.GoString(&version[0])
	return e, nil
}

func textOf(e *C.trtact_error) error { return errors.New(C.GoString(&e.text[0])) }

func (e *engine) name() string { return C.GoString(e.table.name) }

func (e *engine) makeID() (id, error) {
	var c C.trtact_collective_id
	var cerr C.trtact_error
	if C.c_make_id(e.table, &c, &cerr) != 0 {
		return id{}, textOf(&cerr)
	}
	return *(*id)(unsafe.Pointer(&c)), nil
}

// member is this process in a group of an engine's.
type member struct {
	e     *engine
	g     *C.trtact_group
	since atomic.Int64 // when the call began that is waiting for others now, in Unix nanoseconds; 0: none is
}

// begin notes that a call begins that waits for others; the function given back ends it.
func (m *member) begin() (end func()) {
	m.since.Store(time.Now().UnixNano())
	return func() { m.since.Store(0) }
}

// waits is how long the present call lasts already.
func (m *member) waits() time.Duration {
	if since := m.since.Load(); since != 0 {
		return time.Since(time.Unix(0, since))
	}
	return 0
}

func (e *engine) join(rank, size, device int, common id) (*member, error) {
	place := C.trtact_collective_place{rank: C.int32_t(rank), size: C.int32_t(size), device: C.int32_t(device)}
	*(*id)(unsafe.Pointer(&place.id)) = common
	m := &member{e: e}
	var cerr C.trtact_error
	if C.c_join(e.table, &place, &m.g, &cerr) != 0 {
		return nil, textOf(&cerr)
	}
	return m, nil
}

func (m *member) rank() int { return int(C.c_rank(m.e.table, m.g)) }
func (m *member) size() int { return int(C.c_size(m.e.table, m.g)) }

// arrive waits for all processes, not longer than d.
func (m *member) arrive(d time.Duration) (all bool, err error) {
	var done C.int32_t
	var cerr C.trtact_error
	if C.c_arrive(m.e.table, m.g, C.int32_t(d.Milliseconds()), &done, &cerr) != 0 {
		return false, textOf(&cerr)
	}
	return done != 0, nil
}

func (m *member) allReduce(p unsafe.Pointer, count, kind, op, memory int) error {
	if count == 0 {
		return nil
	}
	defer m.begin()()
	var cerr C.trtact_error
	if C.c_all_reduce(m.e.table, m.g, p, C.size_t(count), C.int32_t(kind), C.int32_t(op), C.int32_t(memory), &cerr) != 0 {
		return textOf(&cerr)
	}
	return nil
}

func (m *member) broadcast(data []byte, root int) error {
	if len(data) == 0 {
		return nil
	}
	defer m.begin()()
	var cerr C.trtact_error
	if C.c_broadcast(m.e.table, m.g, unsafe.Pointer(&data[0]), C.size_t(len(data)), C.int32_t(root), &cerr) != 0 {
		return textOf(&cerr)
	}
	return nil
}

// abandon ends what waits for others. Any goroutine may call it.
func (m *member) abandon() { C.c_abandon(m.e.table, m.g) }

// leave ends the membership; clean: all others do too.
func (m *member) leave(clean bool) {
	c := C.int32_t(0)
	if clean {
		c = 1
	}
	C.c_leave(m.e.table, m.g, c)
	m.g = nil
}

func (m *member) takesDeviceMemory() bool { return m.e.table.device_memory != 0 }
