#include "on_cpu/block.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "on_cpu/fiber.h"
#include "on_cpu/symbols.h"
#include "on_cpu/trace.h"

namespace genimg::cuda_on_cpu {

// One collective operation under way among the lanes of `mask`.
struct Exchange {
  unsigned mask = 0, arrived = 0, unread = 0;  // unread: lanes that have not yet taken the result of a complete one
  WarpOperation operation = {};
  Site site = {};
  WarpValues values = {};
};

struct Warp {
  unsigned lanes = 0;      // that exist
  Exchange exchanges[32];  // by the lowest lane of their mask: disjoint groups of lanes go their own ways
};

BuiltIns built_ins;
Thread* running_thread = nullptr;
size_t dynamic_shared_bytes = 0;

namespace {

constexpr int kPoison = 0xFF;  // floats of these bytes are NaN

struct Barrier {
  int count = 0;
  BarrierResult result = {};
};

std::mutex launching;
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber*> idle_fibers;
std::vector<Thread> threads;
std::vector<Warp> warps;
Barrier barrier;
Launch current = {};
bool given_up = false, reversed = false;
int64_t errors = 0, launches = 0;
std::string message = "no error";

std::string as_text(uint3 index) {
  std::string text = "(";
  text += std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
  return text;
}

// Where the launch under way stands.
std::string place() {
  if (!current.kernel) return "";
  std::string text = kernel_symbols(current.kernel).name + ", block " + as_text(built_ins.block);
  if (running_thread) text += ", thread " + as_text(running_thread->index);
  return text + ": ";
}

void note_error(const char* format, va_list arguments) {
  char reason[1024];
  std::vsnprintf(reason, sizeof reason, format, arguments);
  message = place() + reason;
  ++errors;
  std::fprintf(stderr, "cuda-on-cpu: %s\n", message.c_str());
}

Thread* next_fresh_lane(Thread* thread) {
  Thread* next = reversed ? thread - 1 : thread + 1;
  const bool inside = next >= threads.data() && next < threads.data() + threads.size();
  return inside && next->warp == thread->warp && next->state == Thread::State::fresh ? next : nullptr;
}

void set_running(Thread& thread) {
  running_thread = &thread;
  built_ins.thread = thread.index;
}

// What every fiber does: run the thread it was given, then later lanes of the warp as long as none of them waits.
void run_threads() {
  for (;;) {
    Fiber* self = running_thread->fiber;
    running_thread->state = Thread::State::running;
    current.call(current.body);
    running_thread->state = Thread::State::finished;
    if (Thread* next = next_fresh_lane(running_thread)) {
      next->fiber = self;
      set_running(*next);
      continue;
    }
    idle_fibers.push_back(self);
    self->suspend();
  }
}

Fiber* idle_fiber() {
  if (idle_fibers.empty()) {
    fibers.push_back(std::make_unique<Fiber>(&run_threads));
    return fibers.back().get();
  }
  Fiber* fiber = idle_fibers.back();
  idle_fibers.pop_back();
  return fiber;
}

void resume(Thread& thread) {
  if (thread.state == Thread::State::fresh) thread.fiber = idle_fiber();
  set_running(thread);
  thread.fiber->resume();
  running_thread = nullptr;
}

Exchange& exchange_of(Warp& warp, unsigned mask) { return warp.exchanges[__builtin_ctz(mask)]; }

// A lane in an exchange goes on when the result is there, or when the place is free for its next one.
bool can_run(const Thread& thread) {
  if (thread.state == Thread::State::fresh || thread.state == Thread::State::ready) return true;
  if (thread.state != Thread::State::in_exchange) return false;
  for (const Exchange& exchange : thread.warp->exchanges)
    if (exchange.unread >> thread.lane & 1) return true;
  for (const Exchange& exchange : thread.warp->exchanges)
    if (exchange.arrived >> thread.lane & 1) return false;
  return true;
}

unsigned in_order(unsigned i, unsigned n) { return reversed ? n - 1 - i : i; }

void run_warp(unsigned w) {
  const unsigned begin = w * kWarpSize;
  const unsigned lanes = __builtin_popcount(warps[w].lanes);
  for (bool progress = true; progress;) {
    progress = false;
    for (unsigned i = 0; i < lanes; ++i) {
      Thread& thread = threads[begin + in_order(i, lanes)];
      if (!can_run(thread)) continue;
      resume(thread);
      if (given_up) return;
      progress = true;
    }
  }
}

// How things stand when no thread can go on.
struct Standing {
  const Thread* in_exchange = nullptr;  // the first of each
  const Thread* at_barrier = nullptr;
  const Thread* at_other_barrier = nullptr;
  unsigned waiting = 0, finished = 0;
};

Standing survey() {
  Standing standing;
  for (const Thread& thread : threads) {
    if (thread.state == Thread::State::finished) ++standing.finished;
    if (thread.state == Thread::State::in_exchange && !standing.in_exchange) standing.in_exchange = &thread;
    if (thread.state != Thread::State::at_barrier) continue;
    ++standing.waiting;
    if (!standing.at_barrier) standing.at_barrier = &thread;
    if (thread.site.line() != standing.at_barrier->site.line()) standing.at_other_barrier = &thread;
  }
  return standing;
}

// Whether all threads wait at one barrier; if not, no thread will ever go on.
bool all_at_one_barrier(const Standing& standing) {
  if (const Thread* stuck = standing.in_exchange) {
    record_error("deadlock at %s:%u: thread %u waits for lanes that never arrive", stuck->site.file_name(),
                 stuck->site.line(), stuck->linear);
    return false;
  }
  const Site& site = standing.at_barrier->site;
  if (standing.at_other_barrier) {
    record_error("divergent barrier: threads wait at %s:%u and at line %u", site.file_name(), site.line(),
                 standing.at_other_barrier->site.line());
    return false;
  }
  if (standing.finished) {
    record_error("divergent barrier at %s:%u: %u of %zu threads wait there, %u have finished", site.file_name(),
                 site.line(), standing.waiting, threads.size(), standing.finished);
    return false;
  }
  return true;
}

void release_barrier() {
  const Standing standing = survey();
  given_up = !all_at_one_barrier(standing);
  if (given_up) return;
  barrier.result = {barrier.count, barrier.count == static_cast<int>(standing.waiting)};
  barrier.count = 0;
  trace::barrier_released();
  for (Thread& thread : threads) thread.state = Thread::State::ready;
}

bool all_finished() {
  for (const Thread& thread : threads)
    if (thread.state != Thread::State::finished) return false;
  return true;
}

void set_up_threads() {
  const unsigned n = built_ins.block_size.x * built_ins.block_size.y * built_ins.block_size.z;
  threads.assign(n, Thread{});
  warps.assign((n + kWarpSize - 1) / kWarpSize, Warp{});
  for (unsigned i = 0; i < n; ++i) {
    Thread& thread = threads[i];
    thread.index = {i % built_ins.block_size.x, i / built_ins.block_size.x % built_ins.block_size.y,
                    i / built_ins.block_size.x / built_ins.block_size.y};
    thread.linear = i;
    thread.lane = i % kWarpSize;
    thread.warp = &warps[i / kWarpSize];
    thread.warp->lanes |= 1u << thread.lane;
  }
}

void poison_shared_memory() {
  if (built_ins.dynamic_shared) std::memset(built_ins.dynamic_shared, kPoison, dynamic_shared_bytes);
  for (const SharedVariable& variable : kernel_symbols(current.kernel).shared)
    std::memset(variable.address, kPoison, variable.bytes);
}

void run_block() {
  poison_shared_memory();
  set_up_threads();
  barrier = {};
  trace::block_begins();
  const unsigned n = static_cast<unsigned>(warps.size());
  while (!given_up && !all_finished()) {
    for (unsigned w = 0; w < n && !given_up; ++w) run_warp(in_order(w, n));
    if (!given_up && !all_finished()) release_barrier();
  }
  trace::block_ends();
}

void run_blocks() {
  const uint64_t n = static_cast<uint64_t>(built_ins.grid_size.x) * built_ins.grid_size.y * built_ins.grid_size.z;
  for (uint64_t i = 0; i < n && !given_up; ++i) {
    const uint64_t b = reversed ? n - 1 - i : i;
    built_ins.block = {static_cast<unsigned>(b % built_ins.grid_size.x),
                       static_cast<unsigned>(b / built_ins.grid_size.x % built_ins.grid_size.y),
                       static_cast<unsigned>(b / built_ins.grid_size.x / built_ins.grid_size.y)};
    run_block();
  }
}

// Threads that were given up lie on their fibers for ever.
void drop_fibers() {
  idle_fibers.clear();
  fibers.clear();
}

}  // namespace

void record_error(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  note_error(format, arguments);
  va_end(arguments);
}

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  note_error(format, arguments);
  va_end(arguments);
  given_up = true;
  for (;;) running_thread->fiber->suspend();
}

BarrierResult wait_at_barrier(bool predicate, const Site& site) {
  Thread& self = *running_thread;
  barrier.count += predicate;
  self.site = site;
  self.state = Thread::State::at_barrier;
  self.fiber->suspend();
  self.state = Thread::State::running;
  return barrier.result;
}

namespace {

void wait_in_warp(Thread& self, const Site& site) {
  self.site = site;
  self.state = Thread::State::in_exchange;
  self.fiber->suspend();
  self.state = Thread::State::running;
}

void join(Exchange& exchange, const Thread& self, unsigned mask, WarpOperation operation, const Site& site) {
  if (!exchange.arrived) {
    exchange.mask = mask;
    exchange.operation = operation;
    exchange.site = site;
  }
  if (exchange.mask != mask || exchange.operation != operation || exchange.site.line() != site.line())
    fail(
        "lanes of one warp disagree on the operation, its mask or its place: line %u with mask %08x, line %u with %08x",
        exchange.site.line(), exchange.mask, site.line(), mask);
  exchange.arrived |= 1u << self.lane;
}

}  // namespace

WarpValues exchange(unsigned mask, WarpOperation operation, uint64_t value, const Site& site) {
  Thread& self = *running_thread;
  mask &= self.warp->lanes;
  const unsigned own = 1u << self.lane;
  if (!(mask & own)) fail("line %u: the calling lane is not in its own mask %08x", site.line(), mask);
  Exchange& exchange = exchange_of(*self.warp, mask);
  while (exchange.unread) wait_in_warp(self, site);  // the previous result is still being read
  join(exchange, self, mask, operation, site);
  exchange.values[self.lane] = value;
  if (exchange.arrived == mask) {
    exchange.unread = mask;
    if (operation == WarpOperation::synchronize) trace::warp_synchronized(self.linear / kWarpSize, mask);
  }
  while (!(exchange.unread & own)) wait_in_warp(self, site);
  exchange.unread &= ~own;
  if (!exchange.unread) exchange.arrived = 0;
  return exchange.values;
}

unsigned running_lane() { return running_thread->lane; }
unsigned existing_lanes() { return running_thread->warp->lanes; }

bool run_grid(const Launch& launch) {
  const std::lock_guard<std::mutex> lock(launching);
  const int64_t errors_before = errors;
  current = launch;
  given_up = false;
  built_ins.grid_size = launch.grid;
  built_ins.block_size = launch.block;
  dynamic_shared_bytes = launch.dynamic_shared_bytes;
  if (dynamic_shared_bytes && posix_memalign(&built_ins.dynamic_shared, 128, dynamic_shared_bytes)) std::abort();
  ++launches;
  trace::launch_begins(kernel_symbols(launch.kernel));
  run_blocks();
  trace::launch_ends();
  std::free(built_ins.dynamic_shared);
  built_ins.dynamic_shared = nullptr;
  current = {};
  if (given_up) drop_fibers();
  return errors == errors_before;
}

const char* last_error_message() { return message.c_str(); }
int64_t error_count() { return errors; }
int64_t launch_count() { return launches; }
void set_reverse_order(bool reverse) { reversed = reverse; }

}  // namespace genimg::cuda_on_cpu
