// Errors inside a collective library, and the border where they become a status and
// a text.
#pragma once

#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

#include "trtact/collective.h"

namespace trtact::collective {

// Runs f; what it throws ends here.
template <class F>
int32_t guarded(trtact_error* error, const F& f) noexcept {
  const char* text = "unknown exception";
  try {
    f();
    error->text[0] = 0;
    return 0;
  } catch (const std::bad_alloc&) {
    text = "out of memory";
    std::snprintf(error->text, sizeof error->text, "%s", text);
  } catch (const std::exception& e) {
    std::snprintf(error->text, sizeof error->text, "%s", e.what());
  } catch (...) {
    std::snprintf(error->text, sizeof error->text, "%s", text);
  }
  for (char* c = error->text; *c != 0; ++c) {
    if (static_cast<unsigned char>(*c) < ' ') *c = ' ';
  }
  return 1;
}

}  // namespace trtact::collective
