// formula.h for SIMD vectors. Only for files compiled once per instruction set (common/isa.h).
#pragma once

#include "common/simd.h"

namespace genimg::steerable {

// Before formula.h: its templates find functions of builtin types only where those are declared earlier.
GENIMG_HD f32v integer_to_real(i32v i) { return __builtin_convertvector(i, f32v); }
GENIMG_HD f64v integer_to_real(i64v i) { return __builtin_convertvector(i, f64v); }

}  // namespace genimg::steerable

#include "steerable/formula.h"

namespace genimg::steerable {

template <>
struct Lanes<f32v> : Lanes<float> {
  using integer = i32v;
};
template <>
struct Lanes<f64v> : Lanes<double> {
  using integer = i64v;
};

}  // namespace genimg::steerable
