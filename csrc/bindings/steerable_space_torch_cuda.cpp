#include "bindings/steerable_space_schema.h"
#include "bindings/steerable_space_torch.h"
#include "bindings/torch_cuda.h"
#include "steerable/space_cuda.h"

namespace genimg::bindings {
namespace {

template <typename T>
struct CudaMaps {
  static void analysis(const steerable::SpacePyramid& pyramid, const Tensor& image, int64_t batch, T* const* out,
                       bool adjoint) {
    const DeviceGuard guard(image);
    const Tensor workspace = workspace_for(pyramid, image, batch, adjoint);
    check_launch(steerable::launch_space_analysis(pyramid, adjoint, image.const_data_ptr<T>(), batch, out,
                                                  workspace.mutable_data_ptr<T>(), current_stream(image)),
                 "space_analysis");
  }
  static void synthesis(const steerable::SpacePyramid& pyramid, const T* const* in, int64_t batch, const Tensor& image,
                        bool adjoint) {
    const DeviceGuard guard(image);
    const Tensor workspace = workspace_for(pyramid, image, batch, adjoint);
    check_launch(steerable::launch_space_synthesis(pyramid, adjoint, in, batch, image.mutable_data_ptr<T>(),
                                                   workspace.mutable_data_ptr<T>(), current_stream(image)),
                 "space_synthesis");
  }

 private:
  static Tensor workspace_for(const steerable::SpacePyramid& pyramid, const Tensor& like, int64_t batch, bool adjoint) {
    const int64_t size = steerable::space_workspace_size(pyramid, batch, adjoint);
    return empty(like, &size, 1, like.scalar_type());
  }
};

#if defined(GENIMG_CUDA_ON_CPU)
GENIMG_LIBRARY_FRAGMENT(GENIMG_CUDA_NAMESPACE, m){GENIMG_STEERABLE_SPACE_SCHEMAS(m)}
#endif

GENIMG_LIBRARY_IMPL(GENIMG_CUDA_NAMESPACE, GENIMG_CUDA_KEY, m) {
  m.impl("space_analysis", TORCH_BOX(&space_analysis<CudaMaps>));
  m.impl("space_synthesis", TORCH_BOX(&space_synthesis<CudaMaps>));
}

}  // namespace
}  // namespace genimg::bindings
