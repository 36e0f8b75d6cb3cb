// The statistics on CUDA: what statistics.h offers, for plain device pointers and a stream.
//
// Nothing is allocated, read back or waited for, so that calls can be captured in a graph. The functions return the
// error of the first launch that failed, or cudaErrorInvalidValue for a radius or a count that statistics.h does not
// have, or more than 2^31 - 1 blocks. Results are the same bits for any order of blocks, any alignment of the pointers,
// and for a plane alone or among others: sums are cut by position and added in order. Launches:
//
//   correlation                        2
//   convolution                        1
//   power_sums                         2
//   polynomial                         1
//   magnitudes_and_phases              1
//   magnitudes_and_phases_gradient     1
//
// T is float or double. Sums over the pixels of a tile of 32 x 32, or of the 256 that a warp has of a run, are made in
// T, and the rest in double. Pointers are aligned to what they point to, those of complex numbers to 2 T.
#pragma once

#include "common/cuda.h"
#include "statistics/statistics.h"

namespace genimg::statistics::cuda {

// As statistics::correlation; bytes of workspace: a double for each tile and lag.
template <typename T>
size_t correlation_workspace(const T* a, const T* b, const Planes& planes, int radius);
template <typename T>
cudaError_t correlation(const T* a, const T* b, const Planes& planes, int radius, double* out, void* workspace,
                        cudaStream_t stream);

// As statistics::convolution.
template <typename T>
cudaError_t convolution(const T* x, const double* taps, const Planes& planes, int radius, T* out, cudaStream_t stream);

// As statistics::power_sums; bytes of workspace: a double for each run of 2048 pixels and power.
size_t power_sums_workspace(const Planes& planes, int count);
template <typename T>
cudaError_t power_sums(const T* x, const T* weight, const Planes& planes, int count, double* out, void* workspace,
                       cudaStream_t stream);

// As statistics::polynomial; out may be x or weight.
template <typename T>
cudaError_t polynomial(const T* x, const T* weight, const double* coefficients, const Planes& planes, int count, T* out,
                       cudaStream_t stream);

// As statistics::magnitudes_and_phases and its gradient.
template <typename T>
cudaError_t magnitudes_and_phases(const Subbands<T>& in, T* magnitudes, T* reals, cudaStream_t stream);
template <typename T>
cudaError_t magnitudes_and_phases_gradient(const Subbands<T>& in, const T* magnitudes, const T* reals, T* bands,
                                           T* parents, cudaStream_t stream);

}  // namespace genimg::statistics::cuda
