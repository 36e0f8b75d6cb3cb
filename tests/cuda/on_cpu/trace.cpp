// The tracer: what the kernels' loads and stores cost on a GPU, and which of them race.
//
// Kernels are compiled with -fsanitize=thread, whose callbacks (__tsan_read4 and its like) are defined at the end of
// this file; the compiler's own runtime is not linked. This file is not instrumented itself.
#include "on_cpu/trace.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "on_cpu/block.h"
#include "on_cpu/fiber.h"

namespace genimg::cuda_on_cpu::trace {
namespace {

constexpr uintptr_t kSectorBytes = 32, kWordBytes = 4, kBanks = 32;

enum class Space { shared, global, other };

struct Access {
  uintptr_t address;
  unsigned bytes;
  bool write;
  const void* place;  // the instruction
  Space space;
};

bool in_host_stack(uintptr_t address) {
  static thread_local uintptr_t begin = 0, end = 0;
  if (!end) {
    pthread_attr_t attributes;
    void* stack = nullptr;
    size_t bytes = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &stack, &bytes);
    pthread_attr_destroy(&attributes);
    begin = reinterpret_cast<uintptr_t>(stack);
    end = begin + bytes;
  }
  return begin <= address && address < end;
}

bool in_built_ins(uintptr_t address) {
  const auto begin = reinterpret_cast<uintptr_t>(&built_ins);
  return begin <= address && address < begin + sizeof built_ins;
}

Space space_of(uintptr_t address) {
  if (in_built_ins(address)) return Space::other;
  const auto dynamic = reinterpret_cast<uintptr_t>(built_ins.dynamic_shared);
  if (dynamic <= address && address < dynamic + dynamic_shared_bytes) return Space::shared;
  const auto* pointer = reinterpret_cast<const void*>(address);
  if (in_library_data(pointer)) return Space::shared;
  const bool elsewhere = in_library(pointer) || running_thread->fiber->has_on_stack(pointer) || in_host_stack(address);
  return elsewhere ? Space::other : Space::global;
}

// ---- cost: accesses of a warp's lanes by the same instruction, at the same turn of a loop, are one request

struct Cost {
  int64_t requests = 0, moved = 0, ideal = 0;  // sectors of 32 bytes in global memory, passes over the banks in shared

  void operator+=(const Cost& other) {
    requests += other.requests;
    moved += other.moved;
    ideal += other.ideal;
  }
};

struct Request {
  Access first;
  unsigned lanes = 0;
  std::array<uintptr_t, kWarpSize> addresses;
};

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The units (sectors, words) that a set of lanes touches, each once.
std::vector<uintptr_t> units_of(const Request& request, unsigned lanes, uintptr_t unit) {
  std::vector<uintptr_t> units;
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!(request.lanes & lanes & 1u << lane)) continue;
    const uintptr_t address = request.addresses[lane];
    for (uintptr_t u = address / unit; u <= (address + request.first.bytes - 1) / unit; ++u) units.push_back(u);
  }
  std::sort(units.begin(), units.end());
  units.erase(std::unique(units.begin(), units.end()), units.end());
  return units;
}

// Ideal: as many sectors as the distinct bytes would fill.
Cost global_cost(const Request& request) {
  const auto moved = static_cast<int64_t>(units_of(request, ~0u, kSectorBytes).size());
  const auto bytes = static_cast<int64_t>(units_of(request, ~0u, 1).size());
  return {1, moved, ceil_divide(bytes, kSectorBytes)};
}

// A half warp at a time for accesses of 8 bytes, a quarter for 16; in one pass each bank serves one word.
Cost shared_cost(const Request& request) {
  const unsigned words = std::max<unsigned>(1, request.first.bytes / kWordBytes);
  const unsigned lanes_at_once = kWarpSize / words;
  Cost cost{1, 0, 0};
  for (unsigned first = 0; first < kWarpSize; first += lanes_at_once) {
    const unsigned lanes = (lanes_at_once == kWarpSize ? ~0u : (1u << lanes_at_once) - 1) << first;
    const auto touched = units_of(request, lanes, kWordBytes);
    std::array<int64_t, kBanks> in_bank = {};
    for (const uintptr_t word : touched) ++in_bank[word % kBanks];
    cost.moved += *std::max_element(in_bank.begin(), in_bank.end());
    cost.ideal += ceil_divide(static_cast<int64_t>(touched.size()), kBanks);
  }
  return cost;
}

struct RequestKey {
  const void* place;
  unsigned warp, turn;
  bool operator==(const RequestKey&) const = default;
};
struct HashRequest {
  size_t operator()(const RequestKey& key) const {
    return std::hash<const void*>()(key.place) * 31 +
           (static_cast<size_t>(key.warp) << 32 | key.turn) * 0x9e3779b97f4a7c15u;
  }
};

// ---- what is known of a kernel

struct SiteCost {
  bool write = false;
  Space space = Space::other;
  Cost cost;
};

struct KernelRecord {
  int64_t launches = 0, blocks = 0, atomics = 0;
  int64_t sectors_read = 0, sectors_written = 0;  // distinct ones, in each launch
  size_t dynamic_shared = 0;                      // bytes, the most of any launch
  std::map<const void*, SiteCost> sites;
  std::set<const void*> races, block_races;  // where threads of a block, and of different blocks, race
};

std::map<std::string, KernelRecord> records;
std::string kernel_name;
KernelRecord* record = nullptr;  // of the running kernel
bool in_atomic = false;

std::unordered_map<RequestKey, Request, HashRequest> requests;             // of the running block
std::array<std::unordered_map<const void*, unsigned>, kMaxThreads> turns;  // how often a thread was at a place
std::unordered_set<uintptr_t> sectors_read, sectors_written;               // of the running launch

void note_cost(const Access& access) {
  const Thread& thread = *running_thread;
  const unsigned turn = turns[thread.linear][access.place]++;
  Request& request = requests[{access.place, thread.linear / kWarpSize, turn}];
  request.first = access;
  request.lanes |= 1u << thread.lane;
  request.addresses[thread.lane] = access.address;
  if (access.space != Space::global) return;
  auto& sectors = access.write ? sectors_written : sectors_read;
  for (uintptr_t s = access.address / kSectorBytes; s <= (access.address + access.bytes - 1) / kSectorBytes; ++s)
    sectors.insert(s);
}

void add_up_requests() {
  for (const auto& [key, request] : requests) {
    SiteCost& site = record->sites[key.place];
    site.write = request.first.write;
    site.space = request.first.space;
    site.cost += site.space == Space::global ? global_cost(request) : shared_cost(request);
  }
  requests.clear();
  for (auto& turn : turns) turn.clear();
}

// ---- races: two accesses of one word, one of them a write, with nothing between them that orders them

struct Stamp {
  int64_t block = -1;
  unsigned thread = 0, barriers = 0, warp_clock = 0;
  uint8_t bytes = 0;  // which of the word's
  bool atomic = false;
};

// The last write, and the last reads of two threads.
struct History {
  Stamp write, read, other_read;
};

constexpr uintptr_t kPageBytes = 4096;
using Page = std::array<History, kPageBytes / kWordBytes>;

std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
unsigned barriers = 0;  // that the running block has passed
// When lanes of a warp last passed a __syncwarp together, on the warp's own clock.
struct WarpOrder {
  unsigned clock = 0;
  unsigned together[kWarpSize][kWarpSize] = {};
};
std::vector<WarpOrder> warp_orders;

int64_t running_block() {
  return built_ins.block.x + static_cast<int64_t>(built_ins.grid_size.x) *
                                 (built_ins.block.y + static_cast<int64_t>(built_ins.grid_size.y) * built_ins.block.z);
}

bool ordered(const Stamp& earlier, const Stamp& now) {
  if (earlier.block != now.block) return false;
  if (earlier.thread == now.thread || earlier.barriers != now.barriers) return true;
  const unsigned warp = now.thread / kWarpSize;
  if (earlier.thread / kWarpSize != warp) return false;
  return warp_orders[warp].together[earlier.thread % kWarpSize][now.thread % kWarpSize] > earlier.warp_clock;
}

bool races(const Stamp& earlier, const Stamp& now, Space space) {
  if (earlier.block < 0 || (earlier.atomic && now.atomic) || !(earlier.bytes & now.bytes)) return false;
  if (space == Space::shared && earlier.block != now.block) return false;  // another block's memory
  return !ordered(earlier, now);
}

const char* name_of(Space space) { return space == Space::shared ? "shared" : "global"; }

void note_race(const Access& access, const Stamp& earlier, const Stamp& now) {
  if (earlier.block != now.block) {
    record->block_races.insert(access.place);
    return;
  }
  if (!record->races.insert(access.place).second) return;
  record_error("race in %s memory: thread %u %s what thread %u touched, at instruction %#zx", name_of(access.space),
               now.thread, access.write ? "writes" : "reads", earlier.thread, library_offset(access.place));
}

void remember_read(History& history, const Stamp& now) {
  const bool free =
      history.read.block != now.block || history.read.barriers != now.barriers || history.read.thread == now.thread;
  Stamp& slot = free ? history.read : history.other_read;
  // A reader of another warp says more than one of the first reader's.
  if (free || slot.block != now.block || slot.barriers != now.barriers ||
      now.thread / kWarpSize != history.read.thread / kWarpSize)
    slot = now;
}

void check_word(const Access& access, uintptr_t word, Stamp now) {
  auto& page = pages[word * kWordBytes / kPageBytes];
  if (!page) page = std::make_unique<Page>();
  History& history = (*page)[word % page->size()];
  if (races(history.write, now, access.space)) note_race(access, history.write, now);
  if (!access.write) return remember_read(history, now);
  if (races(history.read, now, access.space)) note_race(access, history.read, now);
  if (races(history.other_read, now, access.space)) note_race(access, history.other_read, now);
  history.write = now;
}

void check_races(const Access& access) {
  const unsigned thread = running_thread->linear;
  const unsigned clock = warp_orders[thread / kWarpSize].clock;
  const uintptr_t end = access.address + access.bytes;
  for (uintptr_t word = access.address / kWordBytes; word * kWordBytes < end; ++word) {
    uint8_t bytes = 0;
    for (unsigned b = 0; b < kWordBytes; ++b)
      if (word * kWordBytes + b >= access.address && word * kWordBytes + b < end) bytes |= 1u << b;
    check_word(access, word, {running_block(), thread, barriers, clock, bytes, in_atomic});
  }
}

void note_access(void* pointer, unsigned bytes, bool write, const void* place) {
  if (!running_thread || !record) return;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const Access access{address, bytes, write, place, space_of(address)};
  if (access.space == Space::other) return;
  check_races(access);
  if (in_atomic) {
    record->atomics += access.write;
  } else {
    note_cost(access);
  }
}

// ---- the report

void append(std::string& text, const char* format, auto... values) {
  char buffer[1024];
  std::snprintf(buffer, sizeof buffer, format, values...);
  text += buffer;
}

void append_cost(std::string& text, const char* name, const KernelRecord& kernel, Space space, bool write) {
  Cost sum;
  for (const auto& [place, site] : kernel.sites)
    if (site.space == space && site.write == write) sum += site.cost;
  append(text, ", \"%s\": {\"requests\": %lld, \"moved\": %lld, \"ideal\": %lld}", name, (long long)sum.requests,
         (long long)sum.moved, (long long)sum.ideal);
}

void append_sites(std::string& text, const KernelRecord& kernel) {
  text += ", \"sites\": [";
  const char* separator = "";
  for (const auto& [place, site] : kernel.sites) {
    append(text,
           "%s{\"instruction\": %zu, \"space\": \"%s\", \"write\": %s, \"requests\": %lld, \"moved\": %lld, \"ideal\": "
           "%lld}",
           separator, library_offset(place), name_of(site.space), site.write ? "true" : "false",
           (long long)site.cost.requests, (long long)site.cost.moved, (long long)site.cost.ideal);
    separator = ", ";
  }
  text += "]";
}

void append_instructions(std::string& text, const char* name, const std::set<const void*>& places) {
  append(text, ", \"%s\": [", name);
  const char* separator = "";
  for (const void* place : places) {
    append(text, "%s%zu", separator, library_offset(place));
    separator = ", ";
  }
  text += "]";
}

void append_kernel(std::string& text, const std::string& name, const KernelRecord& kernel) {
  append(text, "{\"name\": \"%s\", \"launches\": %lld, \"blocks\": %lld, \"atomics\": %lld", name.c_str(),
         (long long)kernel.launches, (long long)kernel.blocks, (long long)kernel.atomics);
  append(text, ", \"sectors_read\": %lld, \"sectors_written\": %lld", (long long)kernel.sectors_read,
         (long long)kernel.sectors_written);
  append(text, ", \"dynamic_shared\": %zu", kernel.dynamic_shared);
  append(text, ", \"races\": %zu, \"block_races\": %zu", kernel.races.size(), kernel.block_races.size());
  append_cost(text, "global_loads", kernel, Space::global, false);
  append_cost(text, "global_stores", kernel, Space::global, true);
  append_cost(text, "shared_loads", kernel, Space::shared, false);
  append_cost(text, "shared_stores", kernel, Space::shared, true);
  append_instructions(text, "race_sites", kernel.races);
  append_instructions(text, "block_race_sites", kernel.block_races);
  append_sites(text, kernel);
  text += "}";
}

}  // namespace

void launch_begins(const KernelSymbols& kernel) {
  kernel_name = kernel.name;
  record = &records[kernel_name];
  ++record->launches;
  record->dynamic_shared = std::max(record->dynamic_shared, dynamic_shared_bytes);
  pages.clear();
}

void launch_ends() {
  record->sectors_read += static_cast<int64_t>(sectors_read.size());
  record->sectors_written += static_cast<int64_t>(sectors_written.size());
  sectors_read.clear();
  sectors_written.clear();
  record = nullptr;
}

void block_begins() {
  barriers = 0;
  in_atomic = false;
  warp_orders.assign(kMaxThreads / kWarpSize, {});
}

void block_ends() {
  ++record->blocks;
  add_up_requests();
}

void barrier_released() { ++barriers; }

void warp_synchronized(unsigned warp, unsigned mask) {
  WarpOrder& order = warp_orders[warp];
  ++order.clock;
  for (unsigned a = 0; a < kWarpSize; ++a)
    for (unsigned b = 0; b < kWarpSize; ++b)
      if (mask >> a & 1 && mask >> b & 1) order.together[a][b] = order.clock;
}

Atomic::Atomic() {
  in_atomic = true;
  asm volatile("" ::: "memory");
}
Atomic::~Atomic() {
  asm volatile("" ::: "memory");
  in_atomic = false;
}

}  // namespace genimg::cuda_on_cpu::trace

// ---- what test programs and compiled kernels call

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

// JSON, valid until the next call.
GENIMG_EXPORT const char* cuda_on_cpu_trace_report() {
  using namespace genimg::cuda_on_cpu::trace;
  static std::string text;
  text = "{\"kernels\": [";
  const char* separator = "";
  for (const auto& [name, kernel] : records) {
    text += separator;
    append_kernel(text, name, kernel);
    separator = ",\n";
  }
  text += "]}";
  return text.c_str();
}

GENIMG_EXPORT void cuda_on_cpu_trace_reset() { genimg::cuda_on_cpu::trace::records.clear(); }

#define GENIMG_CALLBACK(name, bytes, write)                                                      \
  extern "C" void __tsan_##name(void* address) {                                                 \
    genimg::cuda_on_cpu::trace::note_access(address, bytes, write, __builtin_return_address(0)); \
  }
#define GENIMG_CALLBACKS(bytes)                        \
  GENIMG_CALLBACK(read##bytes, bytes, false)           \
  GENIMG_CALLBACK(write##bytes, bytes, true)           \
  GENIMG_CALLBACK(unaligned_read##bytes, bytes, false) \
  GENIMG_CALLBACK(unaligned_write##bytes, bytes, true)
GENIMG_CALLBACKS(1)
GENIMG_CALLBACKS(2)
GENIMG_CALLBACKS(4)
GENIMG_CALLBACKS(8)
GENIMG_CALLBACKS(16)

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* address, size_t bytes) {
  genimg::cuda_on_cpu::trace::note_access(address, static_cast<unsigned>(bytes), false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
  genimg::cuda_on_cpu::trace::note_access(address, static_cast<unsigned>(bytes), true, __builtin_return_address(0));
}
}
