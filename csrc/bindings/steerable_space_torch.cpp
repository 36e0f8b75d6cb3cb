#include "bindings/steerable_space_torch.h"
#include "bindings/steerable_space_schema.h"
#include "bindings/torch.h"
#include "steerable/space.h"

namespace genimg::bindings {
namespace {

template <typename T>
struct CpuMaps {
  static void analysis(const steerable::SpacePyramid& pyramid, const Tensor& image, int64_t batch, T* const* out,
                       bool adjoint) {
    (adjoint ? &steerable::space_synthesis_adjoint<T>
             : &steerable::space_analysis<T>)(pyramid, image.const_data_ptr<T>(), batch, out, torch_executor());
  }
  static void synthesis(const steerable::SpacePyramid& pyramid, const T* const* in, int64_t batch, const Tensor& image,
                        bool adjoint) {
    (adjoint ? &steerable::space_analysis_adjoint<T>
             : &steerable::space_synthesis<T>)(pyramid, in, batch, image.mutable_data_ptr<T>(), torch_executor());
  }
};

STABLE_TORCH_LIBRARY_FRAGMENT(genimg_fast, m){GENIMG_STEERABLE_SPACE_SCHEMAS(m)}

STABLE_TORCH_LIBRARY_IMPL(genimg_fast, CPU, m) {
  m.impl("space_analysis", TORCH_BOX(&space_analysis<CpuMaps>));
  m.impl("space_synthesis", TORCH_BOX(&space_synthesis<CpuMaps>));
}

}  // namespace
}  // namespace genimg::bindings
