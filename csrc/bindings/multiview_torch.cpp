// The multi-view operators on CPU tensors.
#include "bindings/multiview_torch.h"

#include "bindings/multiview_schema.h"

namespace genimg::bindings {
namespace {

struct Kernels {
  template <typename T>
  static void apply(const T* x, const multiview::Shape& shape, const multiview::Views& views, int copies,
                    const double* factors, T* out, const Tensor&) {
    multiview::apply(x, shape, views, copies, factors, out, torch_executor());
  }

  template <typename T>
  static void reduce(const multiview::Prediction<T>& prediction, const multiview::Shape& shape,
                     const multiview::Views& inverse, T* noise, T* variance, const Tensor&) {
    multiview::reduce(prediction, shape, inverse, noise, variance, torch_executor());
  }

  template <typename T>
  static void step(const T* x, const multiview::Prediction<T>& prediction, const multiview::Shape& shape,
                   const multiview::Views& inverse, const multiview::Sampling& sampling, const T* noise, T* out,
                   const Tensor&) {
    multiview::step(x, prediction, shape, inverse, sampling, noise, out, torch_executor());
  }
};

STABLE_TORCH_LIBRARY_FRAGMENT(genimg_fast, m) { GENIMG_MULTIVIEW_SCHEMAS(m); }
STABLE_TORCH_LIBRARY_IMPL(genimg_fast, CPU, m) { MultiviewOperators<Kernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
