#include "graph.h"

namespace trtact::cuda {
namespace {

constexpr size_t kMostGraphs = 256;

// A library that allocates meanwhile may: the mode is relaxed.
cudaGraphExec_t capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  const std::lock_guard lock(making());
  cudaGraph_t graph = nullptr;
  TRTACT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    cudaGetLastError();
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  TRTACT_CUDA(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t exec = nullptr;
  const cudaError_t e = cudaGraphInstantiateWithFlags(&exec, graph, 0);
  cudaGraphDestroy(graph);
  TRTACT_CUDA(e);
  return exec;
}

}  // namespace

Graphs::~Graphs() {
  for (auto& [key, e] : entries_) drop(e);
}

void Graphs::drop(Entry& e) {
  if (e.graph) cudaGraphExecDestroy(e.graph);
  e.graph = nullptr;
}

void Graphs::make_room() {
  while (entries_.size() >= kMostGraphs) {
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it)
      if (!it->second.busy && (oldest == entries_.end() || it->second.used < oldest->second.used)) oldest = it;
    if (oldest == entries_.end()) return;
    drop(oldest->second);
    entries_.erase(oldest);
  }
}

void Graphs::run(const void* key, const Signature& signature, cudaStream_t stream, const std::function<void()>& enqueue) {
  Entry* e = nullptr;
  bool fresh = false;
  {
    std::lock_guard lock(mutex_);
    auto it = entries_.find(key);
    if (it == entries_.end()) {
      make_room();
      it = entries_.emplace(key, Entry{}).first;
    }
    if (!it->second.busy) {
      e = &it->second; // stays where it is while others come and go
      e->busy = true;
      e->used = ++clock_;
      fresh = e->signature != signature;
      if (fresh) {
        drop(*e);
        e->signature = signature;
        e->plain = false;
      }
    }
  }
  if (!e) return enqueue();
  struct Release {
    Graphs& g;
    Entry& e;
    ~Release() {
      std::lock_guard lock(g.mutex_);
      e.busy = false;
    }
  } release{*this, *e};
  if (fresh || e->plain) return enqueue();
  if (!e->graph) {
    try {
      e->graph = capture(stream, enqueue);
    } catch (const std::exception&) { // what is wrong with an operator it says again
      e->plain = true;
      return enqueue();
    }
  }
  TRTACT_CUDA(cudaGraphLaunch(e->graph, stream));
}

}  // namespace trtact::cuda
