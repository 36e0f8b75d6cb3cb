// The launchers of statistics/cuda.h with C names, for programs without torch.
#include "statistics/cuda.h"

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

namespace statistics = genimg::statistics;
using statistics::Planes;
using statistics::Subbands;

GENIMG_EXPORT size_t power_sums_workspace(const Planes* planes, int64_t count) {
  return statistics::cuda::power_sums_workspace(*planes, static_cast<int>(count));
}

#define GENIMG_STATISTICS(T, suffix)                                                                                  \
  GENIMG_EXPORT size_t correlation_workspace_##suffix(const T* a, const T* b, const Planes* planes, int64_t radius) { \
    return statistics::cuda::correlation_workspace(a, b, *planes, static_cast<int>(radius));                          \
  }                                                                                                                   \
  GENIMG_EXPORT cudaError_t launch_correlation_##suffix(const T* a, const T* b, const Planes* planes, int64_t radius, \
                                                        double* out, void* workspace, cudaStream_t stream) {          \
    return statistics::cuda::correlation(a, b, *planes, static_cast<int>(radius), out, workspace, stream);            \
  }                                                                                                                   \
  GENIMG_EXPORT cudaError_t launch_convolution_##suffix(const T* x, const double* taps, const Planes* planes,         \
                                                        int64_t radius, T* out, cudaStream_t stream) {                \
    return statistics::cuda::convolution(x, taps, *planes, static_cast<int>(radius), out, stream);                    \
  }                                                                                                                   \
  GENIMG_EXPORT cudaError_t launch_power_sums_##suffix(const T* x, const T* weight, const Planes* planes,             \
                                                       int64_t count, double* out, void* workspace,                   \
                                                       cudaStream_t stream) {                                         \
    return statistics::cuda::power_sums(x, weight, *planes, static_cast<int>(count), out, workspace, stream);         \
  }                                                                                                                   \
  GENIMG_EXPORT cudaError_t launch_polynomial_##suffix(const T* x, const T* weight, const double* coefficients,       \
                                                       const Planes* planes, int64_t count, T* out,                   \
                                                       cudaStream_t stream) {                                         \
    return statistics::cuda::polynomial(x, weight, coefficients, *planes, static_cast<int>(count), out, stream);      \
  }                                                                                                                   \
  GENIMG_EXPORT cudaError_t launch_phases_##suffix(const Subbands<T>* in, T* magnitudes, T* reals,                    \
                                                   cudaStream_t stream) {                                             \
    return statistics::cuda::magnitudes_and_phases(*in, magnitudes, reals, stream);                                   \
  }                                                                                                                   \
  GENIMG_EXPORT cudaError_t launch_phases_gradient_##suffix(                                                          \
      const Subbands<T>* in, const T* magnitudes, const T* reals, T* bands, T* parents, cudaStream_t stream) {        \
    return statistics::cuda::magnitudes_and_phases_gradient(*in, magnitudes, reals, bands, parents, stream);          \
  }
GENIMG_STATISTICS(float, f32)
GENIMG_STATISTICS(double, f64)
