// The sums over pixels that a parametric model of textures is made of, and the maps that are their derivatives
// (J. Portilla, E. Simoncelli, "A parametric texture model based on joint statistics of complex wavelet coefficients",
// IJCV 2000).
//
// Planes are contiguous (planes, height, width) of T, float or double. Sums over a plane are made in T over fixed runs
// of at most a few hundred pixels (on the CPU: in each lane of a vector), and of the runs in double, in a fixed order:
// the same bits for any executor, and for a plane alone or among others.
#pragma once

#include <cstdint>

#include "common/executor.h"
#include "statistics/formula.h"

namespace genimg::statistics {

struct Planes {
  int64_t count, height, width;
  int64_t pixels() const { return height * width; }
};

constexpr int kMaxRadius = 16;
constexpr int kMaxPowers = 16;

// out[i][l] = sum over the pixels p of a_i[p] b_i[p + l], for all lags l = (dy, dx) in -radius .. radius, row by row:
// (planes, 2 radius + 1, 2 radius + 1). Boundaries are circular, whatever the radius. Where b is a, half of the lags
// are summed: out[i][l] and out[i][-l] are the same bits.
template <typename T>
void correlation(const T* a, const T* b, const Planes& planes, int radius, double* out, const Executor& executor);

// out_i[p] = sum over the lags of taps[i][l] x_i[p + l]; out is not x.
template <typename T>
void convolution(const T* x, const double* taps, const Planes& planes, int radius, T* out, const Executor& executor);

// out[i][k] = sum over the pixels of weight_i[p] x_i[p]^k, k = 0 .. count - 1, 1 <= count <= kMaxPowers; weight
// null: 1.
template <typename T>
void power_sums(const T* x, const T* weight, const Planes& planes, int count, double* out, const Executor& executor);

// out_i[p] = weight_i[p] sum over k < count of coefficients[i][k] x_i[p]^k; weight null: 1. out may be x or weight.
template <typename T>
void polynomial(const T* x, const T* weight, const double* coefficients, const Planes& planes, int count, T* out,
                const Executor& executor);

// The subbands of a scale and, at the same size, those of the next coarser one: (groups, orientations, height, width)
// interleaved complex; parents null: none.
template <typename T>
struct Subbands {
  const T* bands;
  const T* parents;
  int64_t groups;
  int orientations;
  int64_t pixels;
};

// magnitudes (groups, K or, with parents, 2 K, pixels): of the bands, then of the parents.
// reals (groups, K or 3 K, pixels): the real parts of the bands, then the real parts of the parents with doubled phase,
// then their imaginary parts. A z with |z|^2 below the smallest normal number of T counts as 0; where |z|^2 overflows,
// the magnitude is infinite.
template <typename T>
void magnitudes_and_phases(const Subbands<T>& in, T* magnitudes, T* reals, const Executor& executor);

// The gradients with respect to bands and parents (null without parents) of a function with these gradients with
// respect to magnitudes and reals.
template <typename T>
void magnitudes_and_phases_gradient(const Subbands<T>& in, const T* magnitudes, const T* reals, T* bands, T* parents,
                                    const Executor& executor);

}  // namespace genimg::statistics
