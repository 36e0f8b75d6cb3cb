// The launchers of gram/cuda.h with C names, for programs without torch.
#include "gram/cuda.h"

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

namespace gram = genimg::gram;
using genimg::BFloat;
using genimg::Half;
using gram::Features;
using gram::Output;
using gram::PixelFactors;
using gram::cuda::Options;

#define GENIMG_PRODUCT(S, T, suffix)                                                                              \
  GENIMG_EXPORT size_t product_workspace_##suffix(const Features<S>* x, const Features<S>* y) {                   \
    return gram::cuda::product_workspace<S, T>(*x, y);                                                            \
  }                                                                                                               \
  GENIMG_EXPORT cudaError_t launch_product_##suffix(const Features<S>* x, const Features<S>* y,                   \
                                                    const PixelFactors<T>* factors, const Options* options,       \
                                                    const Output<T>* out, void* workspace, cudaStream_t stream) { \
    return gram::cuda::product(*x, y, *factors, *options, *out, workspace, stream);                               \
  }
GENIMG_PRODUCT(float, float, f32)
GENIMG_PRODUCT(double, double, f64)
GENIMG_PRODUCT(Half, float, f16)
GENIMG_PRODUCT(BFloat, float, bf16)

#define GENIMG_APPLY(T, suffix)                                                                            \
  GENIMG_EXPORT size_t apply_workspace_##suffix(const Features<T>* x, bool center) {                       \
    return gram::cuda::apply_workspace(*x, center);                                                        \
  }                                                                                                        \
  GENIMG_EXPORT cudaError_t launch_apply_##suffix(                                                         \
      const T* matrix, int64_t rows, const Features<T>* x, const PixelFactors<T>* factors, bool rectified, \
      const Options* options, T* out, void* workspace, cudaStream_t stream) {                              \
    return gram::cuda::apply(matrix, rows, *x, *factors, rectified, *options, out, workspace, stream);     \
  }
GENIMG_APPLY(float, f32)
GENIMG_APPLY(double, f64)
