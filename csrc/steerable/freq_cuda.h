// The masks of freq.h on CUDA: analysis_masks and synthesis_masks over device pointers, on a stream. One launch each,
// whatever the number of levels, orientations and images. T is float or double.
#pragma once

#include "common/cuda.h"
#include "steerable/freq.h"

namespace genimg::steerable {

template <typename T>
cudaError_t launch_analysis_masks(const Pyramid& pyramid, const T* spectrum, int64_t batch, const Coefficients<T>& out,
                                  cudaStream_t stream);
template <typename T>
cudaError_t launch_synthesis_masks(const Pyramid& pyramid, const Coefficients<const T>& in, int64_t batch, T* spectrum,
                                   cudaStream_t stream);

}  // namespace genimg::steerable
