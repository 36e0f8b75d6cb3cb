// The launchers of multiview/cuda.h with C names, for programs without torch.
#include "multiview/cuda.h"

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

namespace multiview = genimg::multiview;
using genimg::BFloat;
using genimg::Half;
using multiview::Prediction;
using multiview::Sampling;
using multiview::Shape;
using multiview::Views;

#define GENIMG_MULTIVIEW(T, suffix)                                                                                    \
  GENIMG_EXPORT cudaError_t launch_apply_views_##suffix(const T* x, const Shape* shape, const Views* views,            \
                                                        int64_t copies, const double* factors, T* out,                 \
                                                        cudaStream_t stream) {                                         \
    return multiview::cuda::apply(x, *shape, *views, static_cast<int>(copies), factors, out, stream);                  \
  }                                                                                                                    \
  GENIMG_EXPORT cudaError_t launch_reduce_views_##suffix(const Prediction<T>* prediction, const Shape* shape,          \
                                                         const Views* inverse, T* noise, T* variance,                  \
                                                         cudaStream_t stream) {                                        \
    return multiview::cuda::reduce(*prediction, *shape, *inverse, noise, variance, stream);                            \
  }                                                                                                                    \
  GENIMG_EXPORT size_t step_views_workspace_##suffix(const Prediction<T>* prediction, const Shape* shape,              \
                                                     const Views* inverse, const Sampling* sampling, const T* noise) { \
    return multiview::cuda::step_workspace(*prediction, *shape, *inverse, *sampling, noise);                           \
  }                                                                                                                    \
  GENIMG_EXPORT cudaError_t launch_step_views_##suffix(                                                                \
      const T* x, const Prediction<T>* prediction, const Shape* shape, const Views* inverse, const Sampling* sampling, \
      const T* noise, T* out, void* workspace, cudaStream_t stream) {                                                  \
    return multiview::cuda::step(x, *prediction, *shape, *inverse, *sampling, noise, out, workspace, stream);          \
  }
GENIMG_MULTIVIEW(float, f32)
GENIMG_MULTIVIEW(double, f64)
GENIMG_MULTIVIEW(Half, f16)
GENIMG_MULTIVIEW(BFloat, bf16)
