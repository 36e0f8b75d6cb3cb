// From a pyramid to what the masks' formulas need (formula.h); host only.
#pragma once

#include <cmath>

#include "steerable/formula.h"
#include "steerable/freq.h"

namespace genimg::steerable {

template <typename S>
MaskParameters<S> mask_parameters(const Pyramid& pyramid) {
  MaskParameters<S> p{};
  p.height = pyramid.height;
  p.width = pyramid.width;
  p.step_x = static_cast<S>(2.0 / static_cast<double>(pyramid.width));
  p.step_y = static_cast<S>(2.0 / static_cast<double>(pyramid.height));
  p.inverse_width = static_cast<S>(std::fmin(1 / pyramid.twidth, 1e20));  // beyond: the same brick wall, no overflow
  p.levels = pyramid.levels;
  p.order = pyramid.order;
  p.overlap = static_cast<int>(std::fmin(std::ceil(pyramid.twidth), kMaxLevels + 1));
  p.analytic = pyramid.analytic;
  p.oversampling = pyramid.oversampling;
  // c^2 = 2^(2o) (o!)^2 / (K (2o)!), so that the squared angular functions sum to 1; factor by factor, as 30! is large.
  double square = 1.0 / pyramid.orientations();
  for (int k = 1; k <= pyramid.order; ++k) square *= 4.0 * k / (k + pyramid.order);
  p.gain = static_cast<S>(std::sqrt(square));
  for (int b = 0; b < pyramid.orientations(); ++b) {
    const double angle = 3.14159265358979323846 * b / pyramid.orientations();
    p.cosine[b] = static_cast<S>(std::cos(angle));
    p.sine[b] = static_cast<S>(std::sin(angle));
  }
  return p;
}

}  // namespace genimg::steerable
