// The operators of the frequency-domain pyramid. `pyramid` is height, width, levels, order, analytic, oversampling,
// table; `subset` and `scales` have an element for each of highpass residual, levels and lowpass residual, and may have
// one for the reconstruction from each level and from the lowpass residual (steerable_freq.h). Coefficients that are
// wanted stand in a list, in this order: (batch, h, w), (batch, orientations, h_i, w_i).
#pragma once

#include <torch/csrc/stable/library.h>

namespace genimg::bindings {

inline void define_steerable_freq_transforms(torch::stable::detail::StableLibrary& m) {
  m.def("steerable_freq_analysis(Tensor image, int[] pyramid, float twidth, int[] subset, float[] scales) -> Tensor[]");
  // real_part_only: bands are complex, but only their real parts are read, with the masks of real bands.
  m.def(
      "steerable_freq_synthesis(Tensor[] coefficients, int[] pyramid, float twidth, int[] subset, float[] scales, "
      "bool real_part_only) -> Tensor");
}

inline void define_steerable_freq_masks(torch::stable::detail::StableLibrary& m) {
  // Half spectra: (batch, h, w/2+1), and (batch, orientations, parts, h_i, w_i/2+1).
  m.def(
      "steerable_freq_analysis_masks(Tensor spectrum, int[] pyramid, float twidth, int[] subset, float[] scales) -> "
      "Tensor[]");
  m.def(
      "steerable_freq_synthesis_masks(Tensor[] spectra, int[] pyramid, float twidth, int[] subset, float[] scales) -> "
      "Tensor");
}

}  // namespace genimg::bindings
