// Views and a sampler's step on CUDA: what multiview.h offers, for plain device pointers and a stream.
//
// Nothing is allocated or waited for, and nothing is read from the device on the host: views, weights and coefficients
// are read at the call and handed to the kernels by value, so that a captured graph keeps those of its capture. What
// `table` and `channels` of a view point to is on the device. The functions return the error of the first launch that
// failed, or cudaErrorInvalidValue for more than 2^31 - 1 blocks of 32 x 32 pixels. Results are the same bits for any
// order of blocks. Launches:
//
//   apply                         1 (one more for each 8 copies beyond the first 8)
//   reduce                        1
//   step                          1
//   step with a quantile          3
//
// Half types are computed in float, double in double. Sums over the views are added in their order.
#pragma once

#include "common/cuda.h"
#include "multiview/multiview.h"

namespace genimg::multiview::cuda {

// As multiview::apply, for T float, double, Half or BFloat.
template <typename T>
cudaError_t apply(const T* x, const Shape& shape, const Views& views, int copies, const double* factors, T* out,
                  cudaStream_t stream);

// As multiview::reduce; variance null: not wanted.
template <typename T>
cudaError_t reduce(const Prediction<T>& prediction, const Shape& shape, const Views& inverse, T* noise, T* variance,
                   cudaStream_t stream);

// As multiview::step. Bytes of workspace: 0 without a quantile; with it, a picture in float (double), for each view
// where views are averaged apart, and as much for the learned variance.
template <typename T>
size_t step_workspace(const Prediction<T>& prediction, const Shape& shape, const Views& inverse,
                      const Sampling& sampling, const T* noise);
template <typename T>
cudaError_t step(const T* x, const Prediction<T>& prediction, const Shape& shape, const Views& inverse,
                 const Sampling& sampling, const T* noise, T* out, void* workspace, cudaStream_t stream);

}  // namespace genimg::multiview::cuda
