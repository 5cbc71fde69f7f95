// Waiting for others without taking a core from them: the process that is waited for
// may run on it. A short wait is spent asking, a longer one asleep, a little longer
// every time.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace trtact::collective {

// Calls ready until it is true or the time is up; gives what it said last.
template <class F>
bool wait_for(int milliseconds, const F& ready) {
  using clock = std::chrono::steady_clock;
  constexpr auto longest = std::chrono::microseconds(1000);
  const auto begun = clock::now();
  const auto end = begun + std::chrono::milliseconds(milliseconds);
  auto nap = std::chrono::microseconds(20);
  for (;;) {
    if (ready()) return true;
    const auto now = clock::now();
    if (now >= end) return false;
    if (now - begun < std::chrono::microseconds(50)) {
      std::this_thread::yield();
      continue;
    }
    std::this_thread::sleep_for(nap);
    nap = std::min(2 * nap, longest);
  }
}

}  // namespace trtact::collective
