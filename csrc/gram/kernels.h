// The CPU's inner loops, one table of functions per instruction set (kernels.cpp).
//
// A block of pixels is packed as rows of T, a row for each channel, so that vectors run along pixels whatever the
// layout of the features was, and neighbouring rows do not fall into the same sets of the cache.
#pragma once

#include <stdint.h>

#include "gram/formula.h"

namespace genimg::gram {

constexpr int kRowGroup = 8;     // packed rows come in multiples of this, the last ones zero
constexpr int kPixelGroup = 32;  // packed pixels likewise

// Where a run of pixels of one feature map lies.
template <typename S>
struct Run {
  const S* data;
  int64_t channels, channel_stride;
  int64_t pixels, pixel_stride;
};

template <typename T>
struct Kernels {
  // to[c * to_stride + p] = factors[p] * (x[c][p] - pivots[c]); null factors are 1, null pivots 0.
  template <typename S>
  using Pack = void (*)(const Run<S>& run, const T* pivots, const T* factors, T* to, int64_t to_stride);
  Pack<T> pack;
  Pack<Half> pack_half;
  Pack<BFloat> pack_bfloat;
  // sums[i * sums_stride + j] += sum over p < pixels of x[i][p] y[j][p]; rows, pixels in multiples of their groups.
  // upper: only for the tiles that hold an i <= j.
  void (*add_products)(const T* x, int64_t x_rows, const T* y, int64_t y_rows, int64_t stride, int64_t pixels,
                       bool upper, double* sums, int64_t sums_stride);
  // sums[i] += sum of x[i][p] factors[p] (null: 1)
  void (*add_rows)(const T* x, int64_t rows, int64_t stride, int64_t pixels, const T* factors, double* sums);
  // out[i * out_stride + p] = sum over j of matrix[i][j] x[j][p] for p < pixels, where x has columns up to the next
  // multiple of kPixelGroup. matrix: groups of kRowGroup rows, each [j][row of the group]. gated: 0 where x[i][p] <= 0.
  void (*multiply)(const T* matrix, int64_t rows, int64_t inner, const T* x, int64_t stride, int64_t pixels, bool gated,
                   T* out, int64_t out_stride);
};

// For this processor (common/isa.h). T is float or double.
template <typename T>
const Kernels<T>& kernels();

}  // namespace genimg::gram
