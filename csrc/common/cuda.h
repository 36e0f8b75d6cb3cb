// The words our CUDA files use, under nvcc and on the CPU harness (tests/cuda).
//
// kernel<<<...>>> does not parse under a host compiler, so kernels are started with launch(); dynamic shared memory is
// named with GENIMG_DYNAMIC_SHARED. Kernels are otherwise plain CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(GENIMG_CUDA_ON_CPU)
#include "cuda_on_cpu.h"
#else
#include <cuda_runtime.h>

#define GENIMG_DYNAMIC_SHARED(T, name)                                \
  extern __shared__ __align__(16) unsigned char name##_bytes[];       \
  T* name = reinterpret_cast<T*>(name##_bytes)

namespace genimg {

template <typename... Parameters, typename... Arguments>
cudaError_t launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, void (*kernel)(Parameters...),
                   Arguments&&... arguments) {
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
}

}  // namespace genimg
#endif
