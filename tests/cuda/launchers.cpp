// The launchers with C names, for programs without torch: plain pointers to what the families' headers declare.
#include "steerable/freq_cuda.h"

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

using genimg::steerable::Coefficients;
using genimg::steerable::Pyramid;

#define GENIMG_STEERABLE_FREQ(T, suffix)                                                                             \
  GENIMG_EXPORT cudaError_t launch_analysis_masks_##suffix(const Pyramid* pyramid, const T* spectrum, int64_t batch, \
                                                           const Coefficients<T>* out, cudaStream_t stream) {        \
    return genimg::steerable::launch_analysis_masks(*pyramid, spectrum, batch, *out, stream);                        \
  }                                                                                                                  \
  GENIMG_EXPORT cudaError_t launch_synthesis_masks_##suffix(const Pyramid* pyramid, const Coefficients<const T>* in, \
                                                            int64_t batch, T* spectrum, cudaStream_t stream) {       \
    return genimg::steerable::launch_synthesis_masks(*pyramid, *in, batch, spectrum, stream);                        \
  }
GENIMG_STEERABLE_FREQ(float, f32)
GENIMG_STEERABLE_FREQ(double, f64)
