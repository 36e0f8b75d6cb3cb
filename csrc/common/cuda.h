// The words our CUDA files use, under nvcc and on the CPU harness (tests/cuda).
//
// kernel<<<...>>> does not parse under a host compiler, so kernels are started with launch(); dynamic shared memory is
// named with GENIMG_DYNAMIC_SHARED; vectors are read and written with load_vector and store_vector. Kernels are
// otherwise plain CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(GENIMG_CUDA_ON_CPU)
#include "cuda_on_cpu.h"
#else
#include <cuda_runtime.h>
#endif

// The bindings see the runtime's types alone; kernels are for nvcc and for the harness.
#if defined(__CUDACC__) && !defined(GENIMG_CUDA_ON_CPU)
#define GENIMG_DYNAMIC_SHARED(T, name)                          \
  extern __shared__ __align__(16) unsigned char name##_bytes[]; \
  T* name = reinterpret_cast<T*>(name##_bytes)

namespace genimg {

template <typename... Parameters, typename... Arguments>
cudaError_t launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, void (*kernel)(Parameters...),
                   Arguments&&... arguments) {
  // clang-format off
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  // clang-format on
  return cudaGetLastError();
}

// One access of 8 or 16 bytes, for vector types at addresses aligned to their size. A plain assignment is one access
// under nvcc; a host compiler would split it and the harness would count several.
template <typename Vector>
__device__ __forceinline__ Vector load_vector(const Vector* from) {
  return *from;
}

template <typename Vector>
__device__ __forceinline__ void store_vector(Vector* to, const Vector& value) {
  *to = value;
}

// To global memory. nvcc takes a plain assignment apart where the numbers were computed one by one and it loses sight
// of the address' alignment; this instruction it leaves alone.
template <typename Vector>
__device__ __forceinline__ void store_global_vector(Vector* to, const Vector& value) {
  __stwb(to, value);
}

}  // namespace genimg
#endif
