// The operators of the statistics on CPU tensors.
#include "bindings/statistics_torch.h"

#include "bindings/statistics_schema.h"

namespace genimg::bindings {
namespace {

struct Kernels {
  template <typename T>
  static void correlation(const T* a, const T* b, const statistics::Planes& planes, int radius, double* out,
                          const Tensor&) {
    statistics::correlation(a, b, planes, radius, out, torch_executor());
  }

  template <typename T>
  static void convolution(const T* x, const double* taps, const statistics::Planes& planes, int radius, T* out,
                          const Tensor&) {
    statistics::convolution(x, taps, planes, radius, out, torch_executor());
  }

  template <typename T>
  static void power_sums(const T* x, const T* weight, const statistics::Planes& planes, int count, double* out,
                         const Tensor&) {
    statistics::power_sums(x, weight, planes, count, out, torch_executor());
  }

  template <typename T>
  static void polynomial(const T* x, const T* weight, const double* coefficients, const statistics::Planes& planes,
                         int count, T* out, const Tensor&) {
    statistics::polynomial(x, weight, coefficients, planes, count, out, torch_executor());
  }

  template <typename T>
  static void magnitudes_and_phases(const statistics::Subbands<T>& in, T* magnitudes, T* reals, const Tensor&) {
    statistics::magnitudes_and_phases(in, magnitudes, reals, torch_executor());
  }

  template <typename T>
  static void magnitudes_and_phases_gradient(const statistics::Subbands<T>& in, const T* magnitudes, const T* reals,
                                             T* bands, T* parents, const Tensor&) {
    statistics::magnitudes_and_phases_gradient(in, magnitudes, reals, bands, parents, torch_executor());
  }
};

STABLE_TORCH_LIBRARY_FRAGMENT(genimg_fast, m) { GENIMG_STATISTICS_SCHEMAS(m); }
STABLE_TORCH_LIBRARY_IMPL(genimg_fast, CPU, m) { StatisticsOperators<Kernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
