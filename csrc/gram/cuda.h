// Gram matrices on CUDA: what gram.h offers, for plain device pointers and a stream.
//
// Every function comes in two: the bytes of workspace it needs, and the function itself, which allocates nothing, waits
// for nothing and returns the error of the first launch that failed, or cudaErrorInvalidValue for features without
// pixels or more than 2^31 - 1 blocks. Results are the same bits for the same shapes, dtypes and options: sums are cut
// by position and added in order. Launches:
//
//   product                      2
//   product with out.sums        3
//   apply                        1
//   apply with center            3
//
// Arithmetic: float32 in float32, or, with tf32, factors of products rounded to a mantissa of 10 bits and their sums
// float32; float64 in float64; products of halves and of bfloat16s are exact, their sums float32. Sums over the parts
// of an image are float64. Devices before sm_80 have no instruction for TF32 and leave it alone.
#pragma once

#include "common/cuda.h"
#include "gram/gram.h"

namespace genimg::gram::cuda {

struct Options {
  bool center = false;
  double scale = 1;
  bool tf32 = false;
};

// As gram::product. S: float, Half, BFloat with T = float, or double with T = double; y may be null.
template <typename S, typename T>
size_t product_workspace(const Features<S>& x, const Features<S>* y);
template <typename S, typename T>
cudaError_t product(const Features<S>& x, const Features<S>* y, const PixelFactors<T>& factors, const Options& options,
                    const Output<T>& out, void* workspace, cudaStream_t stream);

// As gram::apply.
template <typename T>
size_t apply_workspace(const Features<T>& x, bool center);
template <typename T>
cudaError_t apply(const T* matrix, int64_t matrix_rows, const Features<T>& x, const PixelFactors<T>& factors,
                  bool rectified, const Options& options, T* out, void* workspace, cudaStream_t stream);

}  // namespace genimg::gram::cuda
