// The multi-view operators on CUDA tensors, and on the host's harness.
#include "bindings/multiview_schema.h"
#include "bindings/multiview_torch.h"
#include "bindings/torch_cuda.h"
#include "multiview/cuda.h"

namespace genimg::bindings {
namespace {

struct CudaKernels {
  template <typename T>
  static void apply(const T* x, const multiview::Shape& shape, const multiview::Views& views, int copies,
                    const double* factors, T* out, const Tensor& like) {
    const DeviceGuard guard(like);
    check_launch(multiview::cuda::apply(x, shape, views, copies, factors, out, current_stream(like)),
                 "multiview_apply");
  }

  template <typename T>
  static void reduce(const multiview::Prediction<T>& prediction, const multiview::Shape& shape,
                     const multiview::Views& inverse, T* noise, T* variance, const Tensor& like) {
    const DeviceGuard guard(like);
    check_launch(multiview::cuda::reduce(prediction, shape, inverse, noise, variance, current_stream(like)),
                 "multiview_reduce");
  }

  template <typename T>
  static void step(const T* x, const multiview::Prediction<T>& prediction, const multiview::Shape& shape,
                   const multiview::Views& inverse, const multiview::Sampling& sampling, const T* noise, T* out,
                   const Tensor& like) {
    const DeviceGuard guard(like);
    const Tensor workspace =
        new_workspace(like, multiview::cuda::step_workspace(prediction, shape, inverse, sampling, noise));
    check_launch(multiview::cuda::step(x, prediction, shape, inverse, sampling, noise, out,
                                       workspace.mutable_data_ptr(), current_stream(like)),
                 "multiview_step");
  }
};

#if defined(GENIMG_CUDA_ON_CPU)
GENIMG_LIBRARY_FRAGMENT(GENIMG_CUDA_NAMESPACE, m) { GENIMG_MULTIVIEW_SCHEMAS(m); }
#endif
GENIMG_LIBRARY_IMPL(GENIMG_CUDA_NAMESPACE, GENIMG_CUDA_KEY, m) { MultiviewOperators<CudaKernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
