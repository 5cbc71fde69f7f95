// Teams of threads, behind the names by which oneDNN calls GNU's OpenMP runtime.
//
// The loader looks for oneDNN's symbols here before it looks in libgomp, because
// this is the library that was opened. The reason to stand in: a YOLO is a hundred
// regions of 5 to 500 microseconds each, and libgomp can only sleep after each (a
// wake-up costs as much as a short region) or spin (then one busy neighbour on one
// core stops the whole team for a time slice, again and again).
//
// Here a part of a region that its own thread has not begun is taken by the first
// thread that is done with its own. So a thread that does not get its core costs
// its share of the work and no more, and a short spin is enough.
//
// Each thread that asks has a team of its own, which ends with it. A region within
// a region has one thread. The few calls that oneDNN makes for operators we do not
// use (static loops, for channel shuffles) still go to libgomp, which then sees one
// thread, so that each thread does the whole loop.
#include "gomp.h"

#include <immintrin.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace trtact::cpu {
namespace {

// How long a thread looks for what it waits for before it sleeps. YOLOv5n, two
// threads on two cores: 12.8 ms alone, 26.3 ms beside a process that takes a core
// (libgomp with 1000 looks: 15.5 and 36 ms).
constexpr std::chrono::microseconds kSpin{20};

template <class F>
bool spin(const F& ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; i++) {
      if (ready()) return true;
      _mm_pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

// Which part of which region a thread is doing.
struct Place {
  int member = 0, members = 1;
  bool inside = false;         // a region of several threads
  class Team* team = nullptr;  // whose region it is, if of several threads
};
thread_local Place here;

class Team {
 public:
  explicit Team(int size) : begun_(size) {
    sigset_t all, before; // signals are for the threads of the program
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < size; i++) workers_.emplace_back([this, i] { work(i); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~Team() {
    publish(0);
    for (auto& w : workers_) w.join();
  }
  Team(const Team&) = delete;
  int size() const { return static_cast<int>(begun_.size()); }

  // The caller does part 0 between begin and end.
  void begin(void (*f)(void*), void* data, int n) {
    f_ = f;
    data_ = data;
    left_ = n - 1;
    arrived_ = 0;
    publish(n);
  }

  void end() {
    take_over(state_);
    const auto done = [this] { return left_ == 0; };
    if (spin(done)) return;
    std::unique_lock lock(mutex_);
    joining_ = true;
    joined_.wait(lock, done);
    joining_ = false;
  }

  // Nobody comes a second time before all have come once.
  void barrier(int n) {
    const int64_t mine = ++arrived_, all = (mine + n - 1) / n * n;
    const auto complete = [&] { return arrived_ >= all; };
    while (!spin(complete)) std::this_thread::yield();
  }

 private:
  // The last region of which a part was begun.
  struct alignas(64) Begun {
    std::atomic<uint64_t> region{0};
  };

  // A region's number and size become visible together; size 0 ends the team.
  void publish(int n) {
    state_ = ++region_ << 16 | static_cast<uint64_t>(n);
    if (sleeping_ == 0) return;
    { std::lock_guard lock(mutex_); } // who counts as sleeping now waits
    wake_.notify_all();
  }

  // Does part i unless somebody has begun it. A region does not end before all its
  // parts were begun, so what is won here is of the region now published.
  void attempt(int i, uint64_t state) {
    const uint64_t region = state >> 16;
    uint64_t last = begun_[i].region;
    if (last >= region || !begun_[i].region.compare_exchange_strong(last, region)) return;
    const Place before = here;
    here = {i, static_cast<int>(state & 0xffff), true, this};
    f_(data_);
    here = before;
    if (--left_ == 0 && joining_) {
      { std::lock_guard lock(mutex_); }
      joined_.notify_one();
    }
  }

  void take_over(uint64_t state) {
    for (int i = 1; i < static_cast<int>(state & 0xffff); i++) attempt(i, state);
  }

  void work(int me) {
    uint64_t seen = 0;
    for (;;) {
      const auto changed = [&] { return state_ != seen; };
      if (!spin(changed)) {
        std::unique_lock lock(mutex_);
        sleeping_++;
        wake_.wait(lock, changed);
        sleeping_--;
      }
      seen = state_;
      const int n = static_cast<int>(seen & 0xffff);
      if (n == 0) return;
      if (me < n) attempt(me, seen);
      take_over(seen);
    }
  }

  alignas(64) std::atomic<uint64_t> state_{0};
  void (*f_)(void*) = nullptr;
  void* data_ = nullptr;
  uint64_t region_ = 0;
  alignas(64) std::atomic<int> left_{0}; // parts, but the caller's, that are not done
  std::atomic<bool> joining_{false};
  std::atomic<int> sleeping_{0};
  alignas(64) std::atomic<int64_t> arrived_{0};
  std::vector<Begun> begun_;
  std::mutex mutex_;
  std::condition_variable wake_, joined_;
  std::vector<std::thread> workers_;
};

thread_local std::unique_ptr<Team> own_team;
thread_local std::vector<Place> outer; // of the regions that this thread has begun
thread_local int allowed = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));

void begin(void (*f)(void*), void* data, unsigned asked) {
  outer.push_back(here);
  const int n = asked ? static_cast<int>(asked) : allowed;
  if (n == 1 || here.inside) {
    here = {0, 1, here.inside, nullptr};
    return;
  }
  if (!own_team || own_team->size() < n) {
    own_team.reset();
    own_team = std::make_unique<Team>(n);
  }
  here = {0, n, true, own_team.get()};
  own_team->begin(f, data, n);
}

void end() {
  if (here.team) here.team->end();
  here = outer.back();
  outer.pop_back();
}

}  // namespace
}  // namespace trtact::cpu

using namespace trtact::cpu;
#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED void GOMP_parallel_start(void (*f)(void*), void* data, unsigned n) { begin(f, data, n); }
EXPORTED void GOMP_parallel_end() { end(); }
EXPORTED void GOMP_parallel(void (*f)(void*), void* data, unsigned n, unsigned) {
  begin(f, data, n);
  f(data);
  end();
}
EXPORTED void GOMP_barrier() {
  if (here.team) here.team->barrier(here.members);
}

EXPORTED int omp_get_thread_num() { return here.member; }
EXPORTED int omp_get_num_threads() { return here.members; }
EXPORTED int omp_in_parallel() { return here.inside; }
EXPORTED int omp_get_max_threads() { return allowed; }
EXPORTED void omp_set_num_threads(int n) { allowed = std::max(1, n); }
