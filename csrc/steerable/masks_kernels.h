// Rows of the masks, computed by each instruction set.
#pragma once

#include <stdint.h>

#include "steerable/formula.h"

namespace genimg::steerable {

// One row of the image's half spectrum, ky fixed, kx = 0 .. n - 1: where it lies, and the masks made of it. Exact masks
// have the direction as cosine and sine; those from tables have it as an angle, and the opposite frequency's too.
template <typename T>
struct MaskRow {
  int64_t n;
  T *log_radius, *radial, *cosine, *sine, *angle;
  T *opposite_log_radius, *opposite_radial, *opposite_angle;
  T *mask, *hilbert;  // what oriented writes; the other masks are `mask` only
  static constexpr int arrays = 10;
};

template <typename T>
struct MaskFunctions {
  void (*polar)(const MaskParameters<T>& p, int64_t ky, const MaskRow<T>& row);
  void (*highpass)(const MaskParameters<T>& p, const MaskRow<T>& row);
  void (*lowpass)(const MaskParameters<T>& p, const MaskRow<T>& row);
  void (*reconstruction)(const MaskParameters<T>& p, int level, const MaskRow<T>& row);
  void (*radial)(const MaskParameters<T>& p, int level, const MaskRow<T>& row);
  void (*oriented)(const MaskParameters<T>& p, int orientation, const MaskRow<T>& row);
};

template <typename T>
struct MaskKernels {
  MaskFunctions<T> exact, table;
  // out = scale * mask * z * (-i)^quarters, and the same added to out; z and out are n interleaved complex numbers.
  void (*apply)(const T* mask, T scale, int quarters, const T* z, T* out, int64_t n);
  void (*accumulate)(const T* mask, T scale, int quarters, const T* z, T* out, int64_t n);
};

// Both precisions of one instruction set.
struct AllMaskKernels {
  MaskKernels<float> f32;
  MaskKernels<double> f64;
};
namespace baseline {
extern const AllMaskKernels mask_kernels;
}
namespace v3 {
extern const AllMaskKernels mask_kernels;
}
namespace v4 {
extern const AllMaskKernels mask_kernels;
}
namespace v4x {
extern const AllMaskKernels mask_kernels;
}

}  // namespace genimg::steerable
