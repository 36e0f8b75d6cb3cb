// Gram matrices of feature maps: the products of all pairs of channels, summed over the pixels, and the product that is
// their derivative.
//
// Feature maps are given with strides of any kind: channels first or last, a part of a larger map, a shifted one.
// Products are summed over fixed runs of pixels in T, and the runs in double; the results are the same bits for any
// executor, and those of at most 16 channels whose pixels lie one after another for any batch.
#pragma once

#include <cstdint>

#include "common/executor.h"
#include "gram/formula.h"

namespace genimg::gram {

struct Shape {
  int64_t batch = 0, channels = 0, rows = 0, columns = 0;
  int64_t pixels() const { return rows * columns; }
};

// Feature maps (batch, channel, row, column); strides in elements.
template <typename S>
struct Features {
  const S* data = nullptr;
  Shape shape;
  int64_t strides[4] = {};
};

// A factor for each pixel of each feature map: contiguous (batch, rows, columns), or one for the whole batch; null
// for 1.
template <typename T>
struct PixelFactors {
  const T* data = nullptr;
  bool batched = false;
};

// Where the Gram matrices go, all contiguous.
template <typename T>
struct Output {
  T* gram = nullptr;          // (batch, channels of x, channels of y)
  T* means = nullptr;         // of x, (batch, channels); null where they are not wanted
  const T* target = nullptr;  // subtracted from gram; null for 0
  bool is_target_batched = false;
  T* sums = nullptr;  // (batch, 2): the sums of the squares and of the absolute values of gram; null likewise
};

// gram[b][i][j] = scale * sum over the pixels of f^2 (x[i] - m[i]) (y[j] - n[j]) - target[i][j]. m and n are the means
// of x and y weighted by f^2 where `center`, else 0; out.means is written only then. Without y: that of x, of which the
// upper triangle is computed.
// S: float, Half, BFloat with T = float, or double with T = double.
template <typename S, typename T>
void product(const Features<S>& x, const Features<S>* y, const PixelFactors<T>& factors, bool center, double scale,
             const Output<T>& out, const Executor& executor);

// out[b][i] = scale * sum over j of matrix[b][i][j] f^2 (x[b][j] - m[j]) at each pixel, contiguous, of the shape of x
// but for the channels, which are the rows of the matrix; m as above. Where `rectified` (not with `center`; a square
// matrix): 0 where x[b][i] is not positive, the derivative through the ReLU that made x. T is float or double.
template <typename T>
void apply(const T* matrix, int64_t matrix_rows, const Features<T>& x, const PixelFactors<T>& factors, bool center,
           bool rectified, double scale, T* out, const Executor& executor);

}  // namespace genimg::gram
