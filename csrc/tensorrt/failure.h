// Errors inside a shim, and the border where they become a status and a text.
#pragma once

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "trtact/tensorrt.h"

namespace trtact {

struct Failure : std::runtime_error {
  Failure(int32_t status, const std::string& text) : std::runtime_error(text), status(status) {}
  int32_t status;
};

// Copies text as one line, cut to the slot's size.
inline void set_error(trtact_trt_error* slot, const char* text) noexcept {
  if (slot == nullptr) return;
  std::snprintf(slot->text, sizeof slot->text, "%s", text);
  for (char* c = slot->text; *c != 0; ++c) {
    if (static_cast<unsigned char>(*c) < ' ') *c = ' ';
  }
}

// Runs body; what it throws ends here.
template <typename Body>
int32_t border(trtact_trt_error* slot, Body body) noexcept {
  set_error(slot, "");
  try {
    body();
    return TRTACT_TRT_OK;
  } catch (const Failure& f) {
    set_error(slot, f.what());
    return f.status;
  } catch (const std::bad_alloc&) {
    set_error(slot, "out of memory");
  } catch (const std::exception& e) {
    set_error(slot, e.what());
  } catch (...) {
    set_error(slot, "TensorRT threw something that is no std::exception");
  }
  return TRTACT_TRT_FAILED;
}

} // namespace trtact
