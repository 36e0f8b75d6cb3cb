// Words that let one formula be compiled for the host, for every instruction set and for CUDA.
#pragma once

#if defined(__CUDACC__)
#define GENIMG_HD static __host__ __device__ __forceinline__
#else
// static: each file has its own copy, so that code compiled for one instruction set never serves another.
#define GENIMG_HD static inline __attribute__((always_inline))
#endif
