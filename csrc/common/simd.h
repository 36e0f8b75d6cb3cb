// Vectors as wide as the instruction set this file is compiled for. Only for files compiled once per level (isa.h).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/host_device.h"

#if defined(__AVX512F__)
#define GENIMG_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define GENIMG_VECTOR_BYTES 32
#else
#define GENIMG_VECTOR_BYTES 16
#endif

namespace genimg {
inline namespace GENIMG_ISA {

typedef float f32v __attribute__((vector_size(GENIMG_VECTOR_BYTES)));
typedef double f64v __attribute__((vector_size(GENIMG_VECTOR_BYTES)));
typedef int32_t i32v __attribute__((vector_size(GENIMG_VECTOR_BYTES)));
typedef int64_t i64v __attribute__((vector_size(GENIMG_VECTOR_BYTES)));
typedef uint32_t u32v __attribute__((vector_size(GENIMG_VECTOR_BYTES)));
typedef uint64_t u64v __attribute__((vector_size(GENIMG_VECTOR_BYTES)));

// Vector<float>::type, its integer twin, and the number of lanes.
template <typename T>
struct Vector;
template <>
struct Vector<float> {
  using type = f32v;
  using integer = i32v;
  static constexpr int lanes = GENIMG_VECTOR_BYTES / 4;
};
template <>
struct Vector<double> {
  using type = f64v;
  using integer = i64v;
  static constexpr int lanes = GENIMG_VECTOR_BYTES / 8;
};

template <typename V, typename T>
GENIMG_HD V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <typename V, typename T>
GENIMG_HD void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

}  // namespace GENIMG_ISA
}  // namespace genimg
