// How a kernel runs its loop on several threads without knowing whose threads they are.
//
// torch's binding hands over torch's pool, the NumPy binding the library's own (pool.h); a test may hand over a serial
// one. The core links no thread library of its own choice and no OpenMP: two OpenMP runtimes in a process slow both.
#pragma once

#include <cstdint>
#include <type_traits>

namespace genimg {

struct Executor {
  using Body = void (*)(void* context, int64_t begin, int64_t end);
  // Calls body on disjoint ranges that cover [begin, end), each of at least `grain` iterations but the last; returns
  // when all are done.
  void (*run)(int64_t begin, int64_t end, int64_t grain, Body body, void* context);
};

inline void run_serially(int64_t begin, int64_t end, int64_t, Executor::Body body, void* context) {
  if (begin < end) body(context, begin, end);
}
inline Executor serial_executor() { return {&run_serially}; }

// parallel_for(executor, 0, n, grain, [&](int64_t begin, int64_t end) { ... })
template <typename Loop>
void parallel_for(const Executor& executor, int64_t begin, int64_t end, int64_t grain, Loop&& loop) {
  // One thread's work does not need another's, nor what it costs to ask.
  if (end - begin <= grain) {
    if (begin < end) loop(begin, end);
    return;
  }
  executor.run(
      begin, end, grain,
      [](void* context, int64_t b, int64_t e) { (*static_cast<std::remove_reference_t<Loop>*>(context))(b, e); },
      const_cast<void*>(static_cast<const void*>(&loop)));
}

}  // namespace genimg
