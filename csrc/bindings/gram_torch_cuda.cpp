// The Gram operators on CUDA tensors, and on the host's harness.
#include "bindings/gram_schema.h"
#include "bindings/gram_torch.h"
#include "bindings/torch_cuda.h"
#include "gram/cuda.h"

namespace genimg::bindings {
namespace {

struct CudaKernels {
  template <typename S, typename T>
  static void product(const gram::Features<S>& x, const gram::Features<S>* y, const gram::PixelFactors<T>& factors,
                      bool center, double scale, bool tf32, const gram::Output<T>& out, const Tensor& like) {
    const DeviceGuard guard(like);
    const Tensor workspace = new_workspace(like, gram::cuda::product_workspace<S, T>(x, y));
    check_launch(gram::cuda::product(x, y, factors, {center, scale, tf32}, out, workspace.mutable_data_ptr(),
                                     current_stream(like)),
                 "gram_product");
  }

  template <typename T>
  static void apply(const T* matrix, int64_t rows, const gram::Features<T>& x, const gram::PixelFactors<T>& factors,
                    bool center, bool rectified, double scale, bool tf32, T* out, const Tensor& like) {
    const DeviceGuard guard(like);
    const Tensor workspace = new_workspace(like, gram::cuda::apply_workspace(x, center));
    check_launch(gram::cuda::apply(matrix, rows, x, factors, rectified, {center, scale, tf32}, out,
                                   workspace.mutable_data_ptr(), current_stream(like)),
                 "gram_apply");
  }
};

#if defined(GENIMG_CUDA_ON_CPU)
GENIMG_LIBRARY_FRAGMENT(GENIMG_CUDA_NAMESPACE, m) { GENIMG_GRAM_SCHEMAS(m); }
#endif
GENIMG_LIBRARY_IMPL(GENIMG_CUDA_NAMESPACE, GENIMG_CUDA_KEY, m) { GramOperators<CudaKernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
