// The Gram operators on CPU tensors.
#include "bindings/gram_torch.h"

#include "bindings/gram_schema.h"

namespace genimg::bindings {
namespace {

struct Kernels {
  template <typename S, typename T>
  static void product(const gram::Features<S>& x, const gram::Features<S>* y, const gram::PixelFactors<T>& factors,
                      bool center, double scale, bool, const gram::Output<T>& out, const Tensor&) {
    gram::product(x, y, factors, center, scale, out, torch_executor());
  }

  template <typename T>
  static void apply(const T* matrix, int64_t rows, const gram::Features<T>& x, const gram::PixelFactors<T>& factors,
                    bool center, bool rectified, double scale, bool, T* out, const Tensor&) {
    gram::apply(matrix, rows, x, factors, center, rectified, scale, out, torch_executor());
  }
};

STABLE_TORCH_LIBRARY_FRAGMENT(genimg_fast, m) { GENIMG_GRAM_SCHEMAS(m); }
STABLE_TORCH_LIBRARY_IMPL(genimg_fast, CPU, m) { GramOperators<Kernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
