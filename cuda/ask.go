// Asking a library for its version: opened with dlopen, one symbol looked up
// and called. The three version functions have two forms, told apart by name.

package cuda

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

// ask writes the version that symbol of the library gives (0: none), the
// library's path where it opens, and, when it returns other than 0, a message. The
// library stays open: NVIDIA's do not survive being closed. part, where not empty, has
// to open too before anything is called. returns_it: the function returns its version
// instead of storing it.
static int ask(const char* library, const char* part, const char* symbol, int returns_it,
               long long* version, char* path, size_t path_size, char* message, size_t message_size) {
  *version = 0;
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    snprintf(message, message_size, "%s", dlerror());
    return 1;
  }
  struct link_map* map = NULL;
  const char* found = library;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && map->l_name[0]) found = map->l_name;
  snprintf(path, path_size, "%s", found);
  if (*part && !dlopen(part, RTLD_NOW | RTLD_LOCAL)) {
    snprintf(message, message_size, "%s", dlerror());
    return 1;
  }
  void* function = dlsym(handle, symbol);
  if (!function) {
    snprintf(message, message_size, "it has no function %s", symbol);
    return 1;
  }
  if (returns_it) {
    *version = (long long)((size_t(*)(void))function)();
  } else {
    int v = 0;
    if (((int (*)(int*))function)(&v) == 0) *version = v;
  }
  return 0;
}
*/
import "C"

import (
	"errors"
	"path/filepath"
	"unsafe"
)

// askVersion opens library and calls its version function. version is 0 when
// the function failed, path "" when the library does not open.
func askVersion(library, symbol string) (path string, version int, err error) {
	const size = 4096
	name, part, function := C.CString(library), C.CString(firstPart(library)), C.CString(symbol)
	found, message := (*C.char)(C.calloc(size, 1)), (*C.char)(C.calloc(size, 1))
	defer func() {
		for _, p := range []*C.char{name, part, function, found, message} {
			C.free(unsafe.Pointer(p))
		}
	}()
	returns := C.int(0)
	if symbol == "cudnnGetVersion" || symbol == "cublasGetCudartVersion" {
		returns = 1
	}
	var v C.longlong
	if C.ask(name, part, function, returns, &v, found, size, message, size) != 0 {
		err = errors.New(oneLine(C.GoString(message)))
	}
	return C.GoString(found), int(v), err
}

// firstPart is what a library opens when it is called first, and ends the process where
// that fails: cuDNN 8 its part with the basic operations, which needs cuBLAS.
func firstPart(library string) string {
	if dir, name := filepath.Split(library); name == "libcudnn.so.8" {
		return dir + "libcudnn_ops_infer.so.8"
	}
	return ""
}
