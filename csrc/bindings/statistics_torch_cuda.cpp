// The operators of the statistics on CUDA tensors, and on the host's harness.
#include "bindings/statistics_schema.h"
#include "bindings/statistics_torch.h"
#include "bindings/torch_cuda.h"
#include "statistics/cuda.h"

namespace genimg::bindings {
namespace {

struct CudaKernels {
  template <typename T>
  static void correlation(const T* a, const T* b, const statistics::Planes& planes, int radius, double* out,
                          const Tensor& like) {
    const DeviceGuard guard(like);
    const Tensor workspace = new_workspace(like, statistics::cuda::correlation_workspace(a, b, planes, radius));
    check_launch(
        statistics::cuda::correlation(a, b, planes, radius, out, workspace.mutable_data_ptr(), current_stream(like)),
        "statistics_correlation");
  }

  template <typename T>
  static void convolution(const T* x, const double* taps, const statistics::Planes& planes, int radius, T* out,
                          const Tensor& like) {
    const DeviceGuard guard(like);
    check_launch(statistics::cuda::convolution(x, taps, planes, radius, out, current_stream(like)),
                 "statistics_convolution");
  }

  template <typename T>
  static void power_sums(const T* x, const T* weight, const statistics::Planes& planes, int count, double* out,
                         const Tensor& like) {
    const DeviceGuard guard(like);
    const Tensor workspace = new_workspace(like, statistics::cuda::power_sums_workspace(planes, count));
    check_launch(
        statistics::cuda::power_sums(x, weight, planes, count, out, workspace.mutable_data_ptr(), current_stream(like)),
        "statistics_power_sums");
  }

  template <typename T>
  static void polynomial(const T* x, const T* weight, const double* coefficients, const statistics::Planes& planes,
                         int count, T* out, const Tensor& like) {
    const DeviceGuard guard(like);
    check_launch(statistics::cuda::polynomial(x, weight, coefficients, planes, count, out, current_stream(like)),
                 "statistics_polynomial");
  }

  template <typename T>
  static void magnitudes_and_phases(const statistics::Subbands<T>& in, T* magnitudes, T* reals, const Tensor& like) {
    const DeviceGuard guard(like);
    check_launch(statistics::cuda::magnitudes_and_phases(in, magnitudes, reals, current_stream(like)),
                 "statistics_phases");
  }

  template <typename T>
  static void magnitudes_and_phases_gradient(const statistics::Subbands<T>& in, const T* magnitudes, const T* reals,
                                             T* bands, T* parents, const Tensor& like) {
    const DeviceGuard guard(like);
    check_launch(
        statistics::cuda::magnitudes_and_phases_gradient(in, magnitudes, reals, bands, parents, current_stream(like)),
        "statistics_phases_gradient");
  }
};

#if defined(GENIMG_CUDA_ON_CPU)
GENIMG_LIBRARY_FRAGMENT(GENIMG_CUDA_NAMESPACE, m) { GENIMG_STATISTICS_SCHEMAS(m); }
#endif
GENIMG_LIBRARY_IMPL(GENIMG_CUDA_NAMESPACE, GENIMG_CUDA_KEY, m) { StatisticsOperators<CudaKernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
