// Step lists as CUDA graphs. The second time that a list runs with the same operators
// and addresses its launches are captured, and from then on it is one launch: a
// network's hundreds of small kernels cost the host next to nothing. The first time
// it runs as it is, for libraries allocate when they are first used. A list that cannot be
// captured, or only while another thread does what spoils a capture, runs as it is for good.
#pragma once

#include <functional>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "error.h"

namespace trtact::cuda {

// What a list's graph depends on: operators (by number, for addresses come back) and
// the addresses of tensors and workspaces.
using Signature = std::vector<uint64_t>;

class Graphs {
 public:
  ~Graphs();
  // Puts what enqueue puts on the stream there, by a graph when there is one for key
  // and signature.
  void run(const void* key, const Signature& signature, cudaStream_t stream, const std::function<void()>& enqueue);

 private:
  struct Entry {
    Signature signature;
    cudaGraphExec_t graph = nullptr;
    bool plain = false; // could not be captured
    uint64_t used = 0;
    bool busy = false; // another thread captures or launches it
  };
  static void drop(Entry& e);
  void make_room();

  std::mutex mutex_;
  std::unordered_map<const void*, Entry> entries_;
  uint64_t clock_ = 0;
};

}  // namespace trtact::cuda
