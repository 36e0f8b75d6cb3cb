// What the three doors to the frequency-domain pyramid share: how its description arrives, and its coefficients'
// shapes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "steerable/freq.h"

namespace genimg::bindings {

using steerable::Coefficients;
using steerable::Pyramid;

// A pyramid and which of its coefficients are wanted. Coefficient k is the highpass residual (0), the bands of level
// k - 1, the lowpass residual (levels + 1), or the reconstruction from level k - levels - 2 on. The reconstructions may
// be left off.
struct FreqRequest {
  Pyramid pyramid;
  std::vector<int64_t> subset;  // of coefficient k: 0 for none of it; else 1, or a bit for each orientation
  std::vector<double> scales;   // of coefficient k

  int coefficients() const { return static_cast<int>(subset.size()); }
  int first_reconstruction() const { return pyramid.levels + 2; }
  int level(int k) const { return k < first_reconstruction() ? std::max(k - 1, 0) : k - first_reconstruction(); }
  bool is_band(int k) const { return k > 0 && k <= pyramid.levels; }
  bool wants(int k) const { return subset[static_cast<size_t>(k)] != 0; }
  bool wants_all(int k) const {
    return subset[static_cast<size_t>(k)] == (is_band(k) ? (int64_t(1) << pyramid.orientations()) - 1 : 1);
  }
  steerable::Size size(int k) const { return steerable::level_size(pyramid, level(k)); }

  // Wanted coefficients of type T (const for synthesis) in the order of k; pointers[i] belongs to the i-th wanted one.
  template <typename T>
  Coefficients<T> coefficients_at(const std::vector<T*>& pointers) const {
    Coefficients<T> result;
    size_t next = 0;
    for (int k = 0; k < coefficients(); ++k) {
      const double scale = scales[static_cast<size_t>(k)];
      T* pointer = wants(k) ? pointers[next++] : nullptr;
      if (is_band(k)) {
        result.bands[k - 1] = pointer;
        result.band_scale[k - 1] = scale;
        result.band_subset[k - 1] = static_cast<uint32_t>(subset[static_cast<size_t>(k)]);
      } else if (k >= first_reconstruction()) {
        result.reconstructions[level(k)] = pointer;
        result.reconstruction_scale[level(k)] = scale;
      } else {
        (k == 0 ? result.highpass : result.lowpass) = pointer;
        (k == 0 ? result.highpass_scale : result.lowpass_scale) = scale;
      }
    }
    return result;
  }
};

struct Shape {
  std::array<int64_t, 5> sizes;
  int64_t dims;
};

// pyramid: height, width, levels, order, analytic, oversampling, table; see freq.h.
inline FreqRequest freq_request(const std::vector<int64_t>& pyramid, double twidth, std::vector<int64_t> subset,
                                std::vector<double> scales) {
  if (pyramid.size() != 7) throw std::invalid_argument("steerable_freq: pyramid must have 7 numbers");
  FreqRequest request;
  Pyramid& p = request.pyramid;
  p.height = pyramid[0];
  p.width = pyramid[1];
  p.levels = static_cast<int>(pyramid[2]);
  p.order = static_cast<int>(pyramid[3]);
  p.analytic = pyramid[4] != 0;
  p.oversampling = static_cast<int>(std::clamp<int64_t>(pyramid[5], 0, steerable::kMaxLevels));
  p.masks = pyramid[6] != 0 ? steerable::Masks::lut : steerable::Masks::exact;
  p.twidth = twidth;
  if (p.height < 2 || p.width < 2 || pyramid[2] < 0 || pyramid[2] > steerable::kMaxLevels || pyramid[3] < 0 ||
      pyramid[3] > steerable::kMaxOrder || pyramid[5] < 0 || !(twidth > 0))
    throw std::invalid_argument("steerable_freq: height, width, levels, order, oversampling or twidth is out of range");
  request.subset = std::move(subset);
  request.scales = std::move(scales);
  const size_t n = request.subset.size(), residuals_and_bands = static_cast<size_t>(p.levels) + 2;
  if ((n != residuals_and_bands && n != 2 * residuals_and_bands - 1) || request.scales.size() != n)
    throw std::invalid_argument("steerable_freq: subset and scales must have levels + 2 or 2 levels + 3 elements");
  return request;
}

// What a map reads and writes: images and coefficients, or their half spectra.
struct InSpace {
  static Shape image(const FreqRequest& r, int64_t batch) { return {{batch, r.pyramid.height, r.pyramid.width}, 3}; }
  static Shape coefficient(const FreqRequest& r, int k, int64_t batch) {
    const steerable::Size size = r.size(k);
    if (!r.is_band(k)) return {{batch, size.height, size.width}, 3};
    return {{batch, r.pyramid.orientations(), size.height, size.width}, 4};
  }
  static constexpr bool image_is_complex = false;
  static bool is_complex(const FreqRequest& r, int k) { return r.is_band(k) && r.pyramid.analytic; }
};
struct InFrequency {
  static Shape image(const FreqRequest& r, int64_t batch) {
    return {{batch, r.pyramid.height, r.pyramid.width / 2 + 1}, 3};
  }
  static Shape coefficient(const FreqRequest& r, int k, int64_t batch) {
    const steerable::Size size = r.size(k);
    const int64_t columns = size.width / 2 + 1;
    if (!r.is_band(k)) return {{batch, size.height, columns}, 3};
    return {{batch, r.pyramid.orientations(), r.pyramid.analytic ? 2 : 1, size.height, columns}, 5};
  }
  static constexpr bool image_is_complex = true;
  static bool is_complex(const FreqRequest&, int) { return true; }
};

}  // namespace genimg::bindings
