// Histogram matching on CUDA: what histogram.h offers, for plain device pointers and a stream.
//
// Every function comes in two: the bytes of workspace it needs, and the function itself, which allocates nothing, waits
// for nothing and returns the error of the first launch that failed, or cudaErrorInvalidValue for more than kMaxPool
// values in a row, more than kMaxBatches batches, rows of references that do not divide those of the source, or more
// than 2^28 tiles in all. Launches, which depend on neither the number of batches nor that of rows:
//
//                                             longest row at most 8192 (double: 4096)   longer
//   match, float or float reference           2                                         13
//   match, double                             2                                         25
//   match, uint16                             2                                         7, with a mask 10
//   match, uint8 by rank                      2                                         4, with a mask 7
//   match, uint8 by value                     3                                         3
//   match, with sorted references             one more
//   sort, tangent                             as match
//   adjoint                                   one more
#pragma once

#include "common/cuda.h"
#include "histogram/rows.h"

namespace genimg::histogram::cuda {

constexpr int kMaxBatches = 32;

// rows.h says what a batch is. T, R: float, float; double, double; uint8_t or uint16_t and the same or float. Sorted
// references are ascending with NaN at the end, float or double, without a mask.
template <typename T, typename R>
size_t match_workspace(const Batch<T, R>* batches, int count, Method method);
template <typename T, typename R>
cudaError_t match(const Batch<T, R>* batches, int count, Method method, bool is_sorted, void* workspace,
                  cudaStream_t stream);

// As histogram::sort. T is float or double.
template <typename T>
size_t sort_workspace(const Rows<T>& rows);
template <typename T>
cudaError_t sort(const Rows<T>& rows, T* sorted, void* workspace, cudaStream_t stream);

// As histogram::tangent and adjoint; row i of the source takes row i of the reference. T is float or double.
template <typename T>
size_t linear_workspace(const Rows<T>& source, const Rows<T>& reference);
template <typename T>
cudaError_t tangent(const Rows<T>& source, const Rows<T>& reference, const T* direction, T* out, Method method,
                    void* workspace, cudaStream_t stream);
template <typename T>
cudaError_t adjoint(const Rows<T>& source, const Rows<T>& reference, const T* direction, T* out, Method method,
                    void* workspace, cudaStream_t stream);

}  // namespace genimg::histogram::cuda
