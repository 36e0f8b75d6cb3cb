// What the tracer is told. Without GENIMG_TRACE it is not there.
#pragma once

#include "on_cpu/symbols.h"

namespace genimg::cuda_on_cpu::trace {

#if defined(GENIMG_TRACE)
void launch_begins(const KernelSymbols& kernel);
void launch_ends();
void block_begins();
void block_ends();
void barrier_released();
void warp_synchronized(unsigned warp, unsigned mask);

// While one lives, accesses are one atomic operation.
struct Atomic {
  Atomic();
  ~Atomic();
};
#else
inline void launch_begins(const KernelSymbols&) {}
inline void launch_ends() {}
inline void block_begins() {}
inline void block_ends() {}
inline void barrier_released() {}
inline void warp_synchronized(unsigned, unsigned) {}
struct Atomic {
  Atomic() {}
};
#endif

}  // namespace genimg::cuda_on_cpu::trace
