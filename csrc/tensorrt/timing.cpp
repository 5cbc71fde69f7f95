// Timing an engine: the loop that has to be quick. Each stream has a host thread
// of its own that enqueues runs, a few ahead, so that the device never waits for
// the host; CUDA events between the parts of a run take the device's time of
// each. The host's clock is read only around the hand-over of the network.
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "failure.h"
#include "log.h"
#include "session.h"

namespace trtact {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

void check(const trtact_trt_time_options& o, size_t lanes) {
  const auto invalid = [](const std::string& text) { throw Failure(TRTACT_TRT_INVALID, text); };
  if (o.struct_size != sizeof(trtact_trt_time_options)) {
    invalid("the time options have another layout (struct size " + std::to_string(o.struct_size) + ")");
  }
  if (o.streams < 1 || static_cast<size_t>(o.streams) > lanes) {
    invalid(std::to_string(o.streams) + " streams, the session has contexts for " + std::to_string(lanes));
  }
  if (o.in_flight < 1 || o.warm_up < 0 || o.max_samples < 1) invalid("time options below their least values");
}

// What all streams of a block share.
struct Course {
  const trtact_trt_time_options& o;
  Clock::time_point begin;
  std::atomic<int64_t> started{0};
  std::atomic<bool> stop{false};

  // Takes the right to one more run.
  bool next() {
    if (stop) return false;
    const int64_t n = started++;
    return n < o.max_samples && (n < o.iterations || milliseconds(Clock::now() - begin) < o.milliseconds);
  }
};

// The events of one run that is under way.
struct Slot {
  explicit Slot(bool blocking) : begin(blocking), fed(blocking), computed(blocking), end(blocking) {}
  cuda::Event begin, fed, computed, end;
  trtact_trt_sample sample{};
};

// A stream of the block.
class Runner {
 public:
  Runner(Lane& lane, const trtact_trt_time_options& o) : lane_(lane), o_(o) {
    for (int32_t i = 0; i < o.in_flight; ++i) slots_.push_back(std::make_unique<Slot>(!o.spin));
  }

  // Runs that are not measured. The inputs are on the device afterwards.
  void warm_up() {
    lane_.inputs_to_device();
    for (int32_t i = 0; i < o_.warm_up; ++i) {
      compute();
      lane_.stream.wait(); // none ahead: a run that fails is to fail here
    }
    lane_.stream.wait();
  }

  // Captures the network; "" or why that is not possible.
  std::string capture() {
    auto graph = std::make_unique<cuda::Capture>();
    lane_.execution.enqueue(lane_.stream.get()); // TensorRT makes itself ready in a run before
    lane_.stream.wait();
    try {
      graph->begin(lane_.stream);
      std::string why;
      try {
        lane_.execution.enqueue(lane_.stream.get());
      } catch (const Failure& f) {
        why = f.what();
      }
      graph->end(lane_.stream); // in any case, or the stream stays useless
      if (!why.empty()) return why;
    } catch (const Failure& f) {
      return f.what();
    }
    graph_ = std::move(graph);
    return "";
  }
  void forget_graph() { graph_.reset(); }

  void run(Course& course) {
    first = Clock::now();
    size_t n = 0; // runs that were enqueued
    for (; course.next(); ++n) {
      Slot& slot = *slots_[n % slots_.size()];
      if (n >= slots_.size()) collect(slot);
      enqueue(slot, course.begin);
    }
    for (size_t i = n > slots_.size() ? n - slots_.size() : 0; i < n; ++i) collect(*slots_[i % slots_.size()]);
    last = Clock::now();
  }

  std::vector<trtact_trt_sample> samples;
  Clock::time_point first, last;

 private:
  void compute() {
    if (graph_) {
      graph_->launch(lane_.stream);
    } else {
      lane_.execution.enqueue(lane_.stream.get());
    }
  }

  void enqueue(Slot& slot, Clock::time_point begin) {
    const cuda::Stream& stream = lane_.stream;
    slot.sample.start = milliseconds(Clock::now() - begin);
    if (!o_.no_transfers) {
      slot.begin.record(stream);
      lane_.inputs_to_device();
    }
    slot.fed.record(stream);
    const Clock::time_point handed = Clock::now();
    compute();
    slot.sample.enqueue = milliseconds(Clock::now() - handed);
    slot.computed.record(stream);
    if (!o_.no_transfers) {
      lane_.outputs_to_host();
      slot.end.record(stream);
    }
  }

  void collect(Slot& slot) {
    trtact_trt_sample& s = slot.sample;
    if (o_.no_transfers) {
      slot.computed.wait();
      s.gpu = s.end_to_end = slot.computed.since(slot.fed);
    } else {
      slot.end.wait();
      s.h2d = slot.fed.since(slot.begin);
      s.gpu = slot.computed.since(slot.fed);
      s.d2h = slot.end.since(slot.computed);
      s.end_to_end = slot.end.since(slot.begin);
    }
    samples.push_back(s);
  }

  Lane& lane_;
  const trtact_trt_time_options& o_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::unique_ptr<cuda::Capture> graph_;
};

} // namespace

trtact_trt_block Session::time(const trtact_trt_time_options& o) {
  check(o, lanes_.size());
  device_.enter();
  const Log::Scope log(log_path_.c_str(), log_level_);
  const size_t streams = static_cast<size_t>(o.streams);
  std::vector<std::unique_ptr<Runner>> runners;
  note_.clear();
  for (size_t i = 0; i < streams; ++i) {
    same_inputs(*lanes_[i]);
    runners.push_back(std::make_unique<Runner>(*lanes_[i], o));
    if (o.graph && note_.empty()) note_ = runners.back()->capture();
  }
  const bool graphed = o.graph && note_.empty();
  for (auto& runner : runners) {
    if (!graphed) runner->forget_graph(); // all or none
    runner->warm_up();
  }

  Course course{o, Clock::now()};
  std::vector<std::exception_ptr> failures(streams);
  const auto body = [&](size_t i) noexcept {
    try {
      device_.enter();
      runners[i]->run(course);
    } catch (...) {
      failures[i] = std::current_exception();
      course.stop = true;
    }
  };
  std::vector<std::thread> threads;
  try {
    for (size_t i = 1; i < streams; ++i) threads.emplace_back(body, i);
  } catch (...) { // no more threads to be had
    failures[0] = std::current_exception();
    course.stop = true;
  }
  if (!failures[0]) body(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }

  samples_.clear();
  Clock::time_point first = runners[0]->first, last = runners[0]->last;
  for (const auto& runner : runners) {
    samples_.insert(samples_.end(), runner->samples.begin(), runner->samples.end());
    first = std::min(first, runner->first);
    last = std::max(last, runner->last);
  }
  trtact_trt_block block{};
  block.samples = samples_.data();
  block.count = static_cast<int64_t>(samples_.size());
  block.wall = milliseconds(last - first);
  block.graphed = graphed;
  block.note = note_.c_str();
  return block;
}

} // namespace trtact
