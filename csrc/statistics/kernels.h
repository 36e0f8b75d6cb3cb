// The CPU's inner loops, one table of functions per instruction set (kernels.cpp).
#pragma once

#include <stdint.h>

namespace genimg::statistics {

// Steps of a vector that a sum in T takes before it is added to one in double.
constexpr int64_t kRunSteps = 128;
// Vectors of a row that `convolve` computes together.
constexpr int64_t kMapVectors = 4;

template <typename T>
struct Kernels {
  int64_t lanes;         // of a vector of T
  int64_t double_lanes;  // of a vector of double: a sum is kept in as many parts
  // The most lags, rows by columns, that one call of `correlate` sums.
  int block_rows, block_columns;
  // Rows of up to kRunSteps vectors in all. For the lags (i, j) of a block:
  // sums[i sums_stride + j][...] += sum over the rows y and columns x of a[y - i][x] b[y b_stride + x + j].
  // Where a row ends within its last vector, a is 0 and b finite up to the vector's end.
  struct Run {
    const T* const* a;
    const T* b;
    int64_t b_stride, rows, vectors;
  };
  void (*correlate)(const Run& run, int lag_rows, int lag_columns, double* sums, int64_t sums_stride);
  // The lags (i, j) of a block of 4 by 7 but for the first three, half of those of radius 3, in one go: sums[7 i + j].
  // Null where there are no registers for it.
  void (*correlate_half_of_3)(const Run& run, double* sums);

  // out[y out_stride + x] = sum over the lags (i, j) of taps[i size + j] x[(y + i) x_stride + x + j]; x is read up to
  // the end of the last kMapVectors vectors.
  struct Map {
    const T* x;
    int64_t x_stride;
    T* out;
    int64_t out_stride, rows, width;
  };
  void (*convolve)(const Map& map, const T* taps, int size);

  // sums[k][...] += sum of weight x^k over n numbers, n at most kRunSteps vectors; weight null: 1.
  void (*power_sums)(const T* x, const T* weight, int64_t n, int count, double* sums);
  // out = weight * sum of coefficients[k] x^k.
  void (*polynomial)(const T* x, const T* weight, const T* coefficients, int count, int64_t n, T* out);

  // Of n interleaved complex numbers: |z| and Re z.
  void (*magnitudes)(const T* z, int64_t n, T* magnitude, T* re);
  // |z|, and z with its phase doubled.
  void (*doubled_phases)(const T* z, int64_t n, T* magnitude, T* re, T* im);
  // Their derivatives.
  void (*magnitudes_gradient)(const T* z, const T* magnitude, const T* re, int64_t n, T* out);
  void (*doubled_phases_gradient)(const T* z, const T* magnitude, const T* re, const T* im, int64_t n, T* out);
};

}  // namespace genimg::statistics
