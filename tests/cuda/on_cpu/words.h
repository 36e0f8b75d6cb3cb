// Qualifiers and built-in variables of CUDA C++.
#pragma once

#include "on_cpu/block.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// Blocks run one after another, so one copy serves them all. Its contents are poisoned before each block.
#define __shared__ static

#define threadIdx (::genimg::cuda_on_cpu::built_ins.thread)
#define blockIdx (::genimg::cuda_on_cpu::built_ins.block)
#define blockDim (::genimg::cuda_on_cpu::built_ins.block_size)
#define gridDim (::genimg::cuda_on_cpu::built_ins.grid_size)
#define warpSize 32

#define GENIMG_DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(::genimg::cuda_on_cpu::built_ins.dynamic_shared)
