#include "bindings/steerable_freq_torch.h"

#include "bindings/steerable_freq_schema.h"
#include "bindings/torch_cuda.h"
#include "steerable/freq_cuda.h"

namespace genimg::bindings {
namespace {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;

std::vector<Tensor> analysis_masks(const Tensor& spectrum, const Ints& pyramid, double twidth, const Ints& subset,
                                   const Floats& scales) {
  const DeviceGuard guard(spectrum);
  return run_analysis<InFrequency>(
      spectrum, freq_request(pyramid, twidth, subset, scales), [&](const auto& request, const auto&... rest) {
        check_launch(steerable::launch_analysis_masks(request.pyramid, rest..., current_stream(spectrum)),
                     "steerable_freq_analysis_masks");
      });
}

Tensor synthesis_masks(const std::vector<Tensor>& spectra, const Ints& pyramid, double twidth, const Ints& subset,
                       const Floats& scales) {
  STD_TORCH_CHECK(!spectra.empty(), "steerable_freq: no coefficients were given");
  const DeviceGuard guard(spectra[0]);
  return run_synthesis<InFrequency>(
      spectra, freq_request(pyramid, twidth, subset, scales), [&](const auto& request, const auto&... rest) {
        check_launch(steerable::launch_synthesis_masks(request.pyramid, rest..., current_stream(spectra[0])),
                     "steerable_freq_synthesis_masks");
      });
}

#if defined(GENIMG_CUDA_ON_CPU)
GENIMG_LIBRARY_FRAGMENT(GENIMG_CUDA_NAMESPACE, m) { define_steerable_freq_masks(m); }
#endif

GENIMG_LIBRARY_IMPL(GENIMG_CUDA_NAMESPACE, GENIMG_CUDA_KEY, m) {
  m.impl("steerable_freq_analysis_masks", TORCH_BOX(&analysis_masks));
  m.impl("steerable_freq_synthesis_masks", TORCH_BOX(&synthesis_masks));
}

}  // namespace
}  // namespace genimg::bindings
