// formula.h for SIMD vectors. Only for files compiled once per instruction set (common/isa.h).
#pragma once

#include "common/simd.h"

namespace genimg::statistics {

// Before formula.h: its templates find functions of builtin types only where those are declared earlier.
GENIMG_HD f32v root(f32v x) {
  f32v y;
  for (unsigned i = 0; i < sizeof x / sizeof x[0]; ++i) y[i] = __builtin_sqrtf(x[i]);
  return y;
}
GENIMG_HD f64v root(f64v x) {
  f64v y;
  for (unsigned i = 0; i < sizeof x / sizeof x[0]; ++i) y[i] = __builtin_sqrt(x[i]);
  return y;
}
GENIMG_HD float smallest_square(f32v) { return 0x1p-126f; }
GENIMG_HD double smallest_square(f64v) { return 0x1p-1022; }

}  // namespace genimg::statistics

#include "statistics/formula.h"
