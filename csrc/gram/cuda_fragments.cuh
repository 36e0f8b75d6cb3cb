// Products of matrix fragments by one warp: d += a b, a of 16 rows, b of 8 columns, sums in float32.
//
// Lane l = 4 g + t holds registers of 32 bits: a[0], a[1] are rows g and g + 8 at depth t, a[2], a[3] the same rows at
// depth t + 4; b[0], b[1] are column g at depths t and t + 4; d is rows g, g, g + 8, g + 8, columns 2 t, 2 t + 1 twice.
// A register is two neighbouring halves (depth 16 in all) or one TF32 number (depth 8). All lanes of the warp take
// part. (PTX ISA, "Matrix Fragments" for mma.m16n8k16 with .f16 and .bf16 and for mma.m16n8k8 with .f16 and .tf32.)
//
// Nowhere else does the code differ by architecture. The host has no such instruction, and sm_75 has one for half
// alone, of half the depth: where there is none, shuffles and plain arithmetic do the same.
#pragma once

#include <type_traits>

#include "common/cuda.h"
#include "gram/formula.h"

namespace genimg::gram {

struct HalfPair {
  static __device__ __forceinline__ float dot(uint32_t a, uint32_t b, float sum) {
    return sum + half_to_float(static_cast<uint16_t>(a)) * half_to_float(static_cast<uint16_t>(b)) +
           half_to_float(static_cast<uint16_t>(a >> 16)) * half_to_float(static_cast<uint16_t>(b >> 16));
  }
};

struct BFloatPair {
  static __device__ __forceinline__ float dot(uint32_t a, uint32_t b, float sum) {
    return sum + float_of_bits(a << 16) * float_of_bits(b << 16) +
           float_of_bits(a & 0xffff0000u) * float_of_bits(b & 0xffff0000u);
  }
};

struct TFloat {
  static __device__ __forceinline__ float dot(uint32_t a, uint32_t b, float sum) {
    return sum + float_of_bits(a) * float_of_bits(b);
  }
};

// The nearest number of 10 bits of mantissa, ties away from 0: what TF32 is made of.
GENIMG_HD uint32_t round_to_tfloat(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return x == x ? (bits + 0x1000u) & 0xffffe000u : 0x7fc00000u;
}

template <typename Element>
__device__ __forceinline__ void multiply_by_shuffles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const int lane = threadIdx.x % 32, row = lane / 4 * 4, column = lane % 4 * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll 1
    for (int t = 0; t < 4; ++t) {
      const uint32_t upper = __shfl_sync(~0u, a[2 * half], row + t), lower = __shfl_sync(~0u, a[2 * half + 1], row + t);
      const uint32_t left = __shfl_sync(~0u, b[half], column + t), right = __shfl_sync(~0u, b[half], column + 4 + t);
      d[0] = Element::dot(upper, left, d[0]);
      d[1] = Element::dot(upper, right, d[1]);
      d[2] = Element::dot(lower, left, d[2]);
      d[3] = Element::dot(lower, right, d[3]);
    }
}

// Element: HalfPair, BFloatPair or TFloat.
template <typename Element>
__device__ __forceinline__ void multiply_fragments(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define GENIMG_MMA(shape_and_types)                                                                \
  asm("mma.sync.aligned." shape_and_types " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                             \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (std::is_same_v<Element, HalfPair>)
    GENIMG_MMA("m16n8k16.row.col.f32.f16.f16.f32");
  else if constexpr (std::is_same_v<Element, BFloatPair>)
    GENIMG_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
  else
    GENIMG_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
#undef GENIMG_MMA
#elif defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<Element, HalfPair>) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
  } else {
    multiply_by_shuffles<Element>(d, a, b);
  }
#else
  multiply_by_shuffles<Element>(d, a, b);
#endif
}

}  // namespace genimg::gram
