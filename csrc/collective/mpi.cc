// MPI behind collective.h. Compiled against the mpi.h that is there, because every
// MPI has a binary interface of its own; the MPI library comes with this one when it
// is opened. MPI's calls wait by asking all the time, so each of them is made only
// when all processes have arrived, and for that a barrier is started and asked now
// and then.
#include <mpi.h>

#include <algorithm>
#include <cstring>

#include "guard.h"
#include "nap.h"

struct trtact_group {
  MPI_Comm comm = MPI_COMM_NULL; // ours alone
  MPI_Request arrival = MPI_REQUEST_NULL;
  int rank = 0, size = 0;
};

namespace trtact::collective {
namespace {

constexpr size_t most = size_t{1} << 28; // elements or bytes of one call: it counts in int

void check(int code, const char* attempt) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING + 1] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw std::runtime_error(std::string("MPI: ") + attempt + ": " + text);
}

int32_t version(char* slot, size_t n, trtact_error* error) {
  return guarded(error, [&] {
    char text[MPI_MAX_LIBRARY_VERSION_STRING + 1] = "";
    int length = 0;
    check(MPI_Get_library_version(text, &length), "ask for its version");
    text[std::strcspn(text, ",\n")] = 0; // "Open MPI v4.1.4"; the rest is about its build
    std::snprintf(slot, n, "%s", text);
  });
}

int32_t make_id(trtact_collective_id* id, trtact_error* error) {
  *id = trtact_collective_id{};
  error->text[0] = 0;
  return 0;
}

void join_world(trtact_group& g) {
  int initialized = 0, finalized = 0;
  check(MPI_Initialized(&initialized), "start");
  check(MPI_Finalized(&finalized), "start");
  if (initialized || finalized) throw std::runtime_error("MPI can be started once in a process, and was");
  // A goroutine moves between threads, but makes one call at a time.
  int provided = 0;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "start");
  if (provided < MPI_THREAD_SERIALIZED) throw std::runtime_error("this MPI is built without threads (MPI_THREAD_SERIALIZED)");
  check(MPI_Comm_dup(MPI_COMM_WORLD, &g.comm), "make a communicator");
  check(MPI_Comm_set_errhandler(g.comm, MPI_ERRORS_RETURN), "make a communicator");
  check(MPI_Comm_rank(g.comm, &g.rank), "ask for the rank");
  check(MPI_Comm_size(g.comm, &g.size), "ask for the number of processes");
}

int32_t join(const trtact_collective_place*, trtact_group** out, trtact_error* error) {
  return guarded(error, [&] {
    auto* g = new trtact_group;
    try {
      join_world(*g);
    } catch (...) {
      delete g;
      throw;
    }
    *out = g;
  });
}

int32_t rank(const trtact_group* g) { return g->rank; }
int32_t size(const trtact_group* g) { return g->size; }

int32_t arrive(trtact_group* g, int32_t milliseconds, int32_t* all, trtact_error* error) {
  return guarded(error, [&] {
    if (g->arrival == MPI_REQUEST_NULL) check(MPI_Ibarrier(g->comm, &g->arrival), "wait for the others");
    *all = wait_for(milliseconds, [&] {
      int done = 0;
      check(MPI_Test(&g->arrival, &done, MPI_STATUS_IGNORE), "wait for the others");
      return done != 0;
    });
  });
}

int32_t all_reduce(trtact_group* g, void* data, size_t count, int32_t type, int32_t op, int32_t memory, trtact_error* error) {
  return guarded(error, [&] {
    if (memory != TRTACT_COLLECTIVE_HOST) throw std::runtime_error("MPI takes host memory");
    const bool wide = type == TRTACT_COLLECTIVE_FLOAT64;
    const size_t bytes = wide ? sizeof(double) : sizeof(float);
    for (size_t at = 0; at < count; at += most) {
      check(MPI_Allreduce(MPI_IN_PLACE, static_cast<char*>(data) + at * bytes, static_cast<int>(std::min(most, count - at)),
                          wide ? MPI_DOUBLE : MPI_FLOAT, op == TRTACT_COLLECTIVE_MAX ? MPI_MAX : MPI_SUM, g->comm),
            "add up");
    }
  });
}

int32_t broadcast(trtact_group* g, void* data, size_t bytes, int32_t root, trtact_error* error) {
  return guarded(error, [&] {
    for (size_t at = 0; at < bytes; at += most) {
      check(MPI_Bcast(static_cast<char*>(data) + at, static_cast<int>(std::min(most, bytes - at)), MPI_BYTE, root, g->comm), "send");
    }
  });
}

void abandon(trtact_group*) {}

void leave(trtact_group* g, int32_t clean) {
  if (g == nullptr) return;
  if (clean) { // otherwise it would wait; the launcher ends the others when this process ends
    MPI_Comm_free(&g->comm);
    MPI_Finalize();
  }
  delete g;
}

const trtact_collective table = {
    sizeof(trtact_collective), "mpi", 0, version, make_id, join, rank, size, arrive, all_reduce, broadcast, abandon, leave,
};

}  // namespace
}  // namespace trtact::collective

extern "C" const trtact_collective* trtact_collective_open(uint32_t abi) {
  return abi == TRTACT_COLLECTIVE_ABI ? &trtact::collective::table : nullptr;
}
