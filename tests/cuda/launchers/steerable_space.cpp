// The launchers of space_cuda.h with C names and plain arguments, for programs without torch. `pyramid` is height,
// width, levels, order, edge; `coefficients` are all of them.
#include "steerable/space_cuda.h"

using genimg::steerable::Edge;
using genimg::steerable::SpacePyramid;

namespace {

SpacePyramid pyramid_of(const int64_t* p) {
  SpacePyramid pyramid;
  pyramid.height = p[0];
  pyramid.width = p[1];
  pyramid.levels = static_cast<int>(p[2]);
  pyramid.order = static_cast<int>(p[3]);
  pyramid.edge = static_cast<Edge>(p[4]);
  return pyramid;
}

}  // namespace

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

GENIMG_EXPORT size_t space_workspace(const int64_t* pyramid, int64_t batch, bool adjoint) {
  return static_cast<size_t>(genimg::steerable::space_workspace_size(pyramid_of(pyramid), batch, adjoint));
}

#define GENIMG_EXPORT_MAPS(T, suffix)                                                                           \
  GENIMG_EXPORT cudaError_t space_analysis_##suffix(const int64_t* pyramid, bool adjoint, const T* image,       \
                                                    int64_t batch, T* const* coefficients, T* workspace,        \
                                                    cudaStream_t stream) {                                      \
    return launch_space_analysis(pyramid_of(pyramid), adjoint, image, batch, coefficients, workspace, stream);  \
  }                                                                                                             \
  GENIMG_EXPORT cudaError_t space_synthesis_##suffix(const int64_t* pyramid, bool adjoint,                      \
                                                     const T* const* coefficients, int64_t batch, T* image,     \
                                                     T* workspace, cudaStream_t stream) {                       \
    return launch_space_synthesis(pyramid_of(pyramid), adjoint, coefficients, batch, image, workspace, stream); \
  }
GENIMG_EXPORT_MAPS(float, f32)
GENIMG_EXPORT_MAPS(double, f64)
