#include "bindings/steerable_freq_torch.h"

#include "bindings/steerable_freq_schema.h"

namespace genimg::bindings {
namespace {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;

std::vector<Tensor> analysis(const Tensor& image, const Ints& pyramid, double twidth, const Ints& subset,
                             const Floats& scales) {
  return run_analysis<InSpace>(image, freq_request(pyramid, twidth, subset, scales),
                               [](const auto& request, const auto&... rest) {
                                 steerable::analysis(request.pyramid, rest..., torch_executor());
                               });
}

Tensor synthesis(const std::vector<Tensor>& coefficients, const Ints& pyramid, double twidth, const Ints& subset,
                 const Floats& scales, bool real_part_only) {
  return run_synthesis<InSpace>(coefficients, freq_request(pyramid, twidth, subset, scales),
                                [real_part_only](const auto& request, auto in, const auto&... rest) {
                                  in.real_part_only = real_part_only;
                                  steerable::synthesis(request.pyramid, in, rest..., torch_executor());
                                });
}

std::vector<Tensor> analysis_masks(const Tensor& spectrum, const Ints& pyramid, double twidth, const Ints& subset,
                                   const Floats& scales) {
  return run_analysis<InFrequency>(spectrum, freq_request(pyramid, twidth, subset, scales),
                                   [](const auto& request, const auto&... rest) {
                                     steerable::analysis_masks(request.pyramid, rest..., torch_executor());
                                   });
}

Tensor synthesis_masks(const std::vector<Tensor>& spectra, const Ints& pyramid, double twidth, const Ints& subset,
                       const Floats& scales) {
  return run_synthesis<InFrequency>(spectra, freq_request(pyramid, twidth, subset, scales),
                                    [](const auto& request, const auto&... rest) {
                                      steerable::synthesis_masks(request.pyramid, rest..., torch_executor());
                                    });
}

STABLE_TORCH_LIBRARY_FRAGMENT(genimg_fast, m) {
  define_steerable_freq_transforms(m);
  define_steerable_freq_masks(m);
}

STABLE_TORCH_LIBRARY_IMPL(genimg_fast, CPU, m) {
  m.impl("steerable_freq_analysis", TORCH_BOX(&analysis));
  m.impl("steerable_freq_synthesis", TORCH_BOX(&synthesis));
  m.impl("steerable_freq_analysis_masks", TORCH_BOX(&analysis_masks));
  m.impl("steerable_freq_synthesis_masks", TORCH_BOX(&synthesis_masks));
}

}  // namespace
}  // namespace genimg::bindings
