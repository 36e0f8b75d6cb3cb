// The maps of space.h on CUDA, over device pointers, on a stream; they need no torch. T is float or double.
//
// Analysis starts one kernel for the residuals and one for each level, which makes all its bands and the next level's
// image; synthesis one for each level and one for the residuals. The adjoints of edge types for which synthesis is not
// the adjoint of analysis start one more for each image that they fold.
#pragma once

#include "common/cuda.h"
#include "steerable/space.h"

namespace genimg::steerable {

// How many T the launchers below need in workspace; nothing is kept there between launches.
int64_t space_workspace_size(const SpacePyramid& pyramid, int64_t batch, bool adjoint);

// The adjoint of analysis is launch_space_synthesis with adjoint set, and the other way round.
template <typename T>
cudaError_t launch_space_analysis(const SpacePyramid& pyramid, bool adjoint, const T* image, int64_t batch,
                                  T* const* coefficients, T* workspace, cudaStream_t stream);
template <typename T>
cudaError_t launch_space_synthesis(const SpacePyramid& pyramid, bool adjoint, const T* const* coefficients,
                                   int64_t batch, T* image, T* workspace, cudaStream_t stream);

}  // namespace genimg::steerable
