// The threads of one block, run by fibers: who runs, who waits, and what a wait that can never end is called.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <source_location>

#include "on_cpu/vector_types.h"

namespace genimg::cuda_on_cpu {

class Fiber;
struct Warp;
using Site = std::source_location;

constexpr unsigned kWarpSize = 32;
constexpr unsigned kMaxThreads = 1024;

struct Thread {
  enum class State { fresh, ready, running, at_barrier, in_exchange, finished };

  uint3 index = {};
  unsigned linear = 0, lane = 0;
  State state = State::fresh;
  Fiber* fiber = nullptr;
  Warp* warp = nullptr;
  Site site = {};  // where it waits
};

// What CUDA's built-in variables stand for.
struct BuiltIns {
  uint3 thread = {}, block = {};
  dim3 block_size, grid_size;
  void* dynamic_shared = nullptr;
};
extern BuiltIns built_ins;

extern Thread* running_thread;
extern size_t dynamic_shared_bytes;

struct BarrierResult {
  int count;  // threads whose predicate was not zero
  bool all;
};

// __syncthreads and its relatives.
BarrierResult wait_at_barrier(bool predicate, const Site& site);

enum class WarpOperation { synchronize, shuffle, shuffle_up, shuffle_down, shuffle_xor, vote, match };
using WarpValues = std::array<uint64_t, kWarpSize>;

// Every lane of the mask hands in a value and gets those of all.
WarpValues exchange(unsigned mask, WarpOperation operation, uint64_t value, const Site& site);

unsigned running_lane();
// The lanes that the running thread's warp has.
unsigned existing_lanes();

// Notes an error; the launch goes on and fails at its end.
void record_error(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Notes an error and gives the launch up. Called by a thread of the block.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// What a launch runs: call(body) once a thread.
struct Launch {
  dim3 grid, block;
  size_t dynamic_shared_bytes;
  const void* kernel;
  void (*call)(const void* body);
  const void* body;
};

// False when the launch failed; last_error_message() says why.
bool run_grid(const Launch& launch);

const char* last_error_message();
int64_t error_count();
int64_t launch_count();
// Blocks, warps and lanes in descending order: a result that depends on the order shows.
void set_reverse_order(bool reverse);

}  // namespace genimg::cuda_on_cpu
