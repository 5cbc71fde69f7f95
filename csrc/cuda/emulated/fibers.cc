#include "fibers.h"

#include <sys/mman.h>

#include <memory>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

// Saves the registers that a call must keep (System V, x86-64), exchanges stacks and
// returns on the other one.
asm(R"(
.text
.globl trtact_emulated_switch
.hidden trtact_emulated_switch
.type trtact_emulated_switch, @function
trtact_emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size trtact_emulated_switch, .-trtact_emulated_switch
)");
extern "C" void trtact_emulated_switch(void** save, void* load);

namespace trtact::emulated {
namespace {

enum State { kReady, kAtBlock, kAtWarp, kDone };

class Fiber {
 public:
  Fiber() {
    constexpr size_t kStack = 128 * 1024;
    memory_ = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) abort();
    void** top = reinterpret_cast<void**>(static_cast<char*>(memory_) + kStack);
    *--top = nullptr; // where the entry would return to; it does not
    *--top = reinterpret_cast<void*>(&Fiber::entry);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    stack_ = top;
  }
  // Until it waits or is done.
  void resume();
  void leave();

 private:
  static void entry();
  void* memory_;
  void* stack_;
};

struct Thread {
  Fiber* fiber = nullptr;
  State state = kReady;
  unsigned mask = 0;
};

// The block that is running: one at a time.
struct Block {
  const std::function<void()>* kernel = nullptr;
  std::vector<Thread> threads;
  std::vector<uint64_t> offers; // of exchange, one for each thread
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  unsigned current = 0;
  void* scheduler = nullptr;
} block;

void Fiber::resume() { trtact_emulated_switch(&block.scheduler, stack_); }
void Fiber::leave() { trtact_emulated_switch(&stack_, block.scheduler); }

void Fiber::entry() {
  for (;;) {
    (*block.kernel)();
    Thread& t = block.threads[block.current];
    t.state = kDone;
    t.fiber->leave();
  }
}

void wait(State state, unsigned mask) {
  Thread& t = block.threads[block.current];
  t.state = state;
  t.mask = mask;
  t.fiber->leave();
}

void run_thread(unsigned i) {
  Thread& t = block.threads[i];
  if (!t.fiber) {
    if (block.idle.empty()) {
      block.fibers.push_back(std::make_unique<Fiber>());
      block.idle.push_back(block.fibers.back().get());
    }
    t.fiber = block.idle.back();
    block.idle.pop_back();
  }
  block.current = i;
  threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
  t.fiber->resume();
  if (t.state == kDone) {
    block.idle.push_back(t.fiber);
    t.fiber = nullptr;
  }
}

// Lets warps go on whose threads all wait for each other.
bool release_warps(const char** problem) {
  bool any = false;
  const unsigned count = static_cast<unsigned>(block.threads.size());
  for (unsigned first = 0; first < count; first += 32) {
    for (unsigned lane = 0; lane < 32 && first + lane < count; lane++) {
      const Thread& t = block.threads[first + lane];
      if (t.state != kAtWarp) continue;
      bool complete = true;
      for (unsigned other = 0; other < 32; other++) {
        if (!(t.mask >> other & 1)) continue;
        if (first + other >= count || block.threads[first + other].state == kDone)
          *problem = "a warp waits for a thread that has ended";
        else if (block.threads[first + other].state != kAtWarp || block.threads[first + other].mask != t.mask)
          complete = false;
      }
      if (*problem) return false;
      if (!complete) continue;
      const unsigned mask = t.mask;
      for (unsigned other = 0; other < 32; other++)
        if (mask >> other & 1) block.threads[first + other].state = kReady;
      any = true;
    }
  }
  return any;
}

}  // namespace

const char* run_block(const std::function<void()>& kernel, bool reverse) {
  const unsigned count = blockDim.x * blockDim.y * blockDim.z;
  block.kernel = &kernel;
  block.threads.assign(count, {});
  block.offers.resize(count);
  const char* problem = nullptr;
  for (;;) {
    for (unsigned k = 0; k < count; k++) {
      const unsigned i = reverse ? count - 1 - k : k;
      if (block.threads[i].state == kReady) run_thread(i);
    }
    if (release_warps(&problem)) continue;
    if (problem) break;
    unsigned waiting = 0, done = 0;
    for (const Thread& t : block.threads) {
      waiting += t.state == kAtBlock;
      done += t.state == kDone;
    }
    if (done == count) return nullptr;
    if (waiting < count) {
      problem = "not all threads of a block come to a barrier";
      break;
    }
    for (Thread& t : block.threads) t.state = kReady;
  }
  // The stacks of threads that hang are given up.
  for (Thread& t : block.threads) t.fiber = nullptr;
  return problem;
}

unsigned lane() { return block.current % 32; }

uint64_t exchange(unsigned mask, uint64_t mine, unsigned from) {
  const unsigned me = block.current, other = me / 32 * 32 + from;
  block.offers[me] = mine;
  wait(kAtWarp, mask);
  const uint64_t theirs = other < block.offers.size() ? block.offers[other] : mine;
  wait(kAtWarp, mask);
  return theirs;
}

}  // namespace trtact::emulated

void __syncthreads() { trtact::emulated::wait(trtact::emulated::kAtBlock, 0); }
void __syncwarp(unsigned mask) { trtact::emulated::wait(trtact::emulated::kAtWarp, mask); }
