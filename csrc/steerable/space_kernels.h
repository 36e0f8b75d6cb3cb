// The inner loops of the spatial pyramid, one table of them per instruction set.
//
// Every filter here is symmetric or antisymmetric about its middle column (space_cpu.cpp splits the others), so an
// input row is first folded into planes, p[x - k] +- p[x + k], and a filter of n x n taps costs n * (n + 1) / 2
// products a sample. Planes are `tile` samples wide; a ring of pointers to the last rows of planes slides down the
// image.
#pragma once

#include <stdint.h>

namespace genimg::steerable {

template <typename T>
struct SpaceKernels {
  int tile;    // outputs a row
  int rows;    // outputs a column
  int margin;  // samples that fold may read on either side of a row's tile, at least kMaxFilterSize / 2

  // out[r][x] (+)= sum over j < taps_rows, k < planes of taps[j * planes + k] * rows[j + r][k * tile + x]
  void (*accumulate)(const T* const* rows, int planes, int taps_rows, const T* taps, bool add, T* out);
  // sum plane m = row[x - m] + row[x + m + gap] for 0 <= m < count, row[x] where both are the same; difference plane m
  // = row[x + m] - row[x - m] for 0 < m < count (gap 0). A null pointer leaves either out.
  void (*fold)(const T* row, int gap, int count, T* sums, T* differences);
  // out = a + sign * b, n samples; added to out where add
  void (*combine)(const T* a, const T* b, T sign, bool add, int64_t n, T* out);
  void (*copy)(const T* a, bool add, int64_t n, T* out);
  // even[x] = row[2 * x], odd[x] = row[2 * x + 1]
  void (*split)(const T* row, int64_t n, T* even, T* odd);
  // the inverse of split; n counts the samples of out
  void (*interleave)(const T* even, const T* odd, int64_t n, T* out);
};

#define GENIMG_DECLARE_SPACE_KERNELS(isa)         \
  namespace isa {                                 \
  extern const SpaceKernels<float> space_float;   \
  extern const SpaceKernels<double> space_double; \
  }
GENIMG_DECLARE_SPACE_KERNELS(baseline)
GENIMG_DECLARE_SPACE_KERNELS(v3)
GENIMG_DECLARE_SPACE_KERNELS(v4)
GENIMG_DECLARE_SPACE_KERNELS(v4x)
#undef GENIMG_DECLARE_SPACE_KERNELS

}  // namespace genimg::steerable
