// The schemas of the operators of the statistics (csrc/statistics/statistics.h).
//
// a, b, x, weight: planes (n, h, w), float32 or float64, of one dtype and shape. What is summed over a plane, and what
// stands for all of it, is float64: correlations and taps (n, 2 radius + 1, 2 radius + 1), power sums and coefficients
// (n, count). Where b is a, one tensor, half of the lags are summed.
// bands, parents: complex (g, K, h, w). statistics_phases gives the magnitudes (g, K or, with parents, 2 K, h, w) and
// the reals (g, K or 3 K, h, w); its gradient takes gradients of these shapes and gives those of bands and of parents,
// of which the second is empty without parents.
#pragma once

#define GENIMG_STATISTICS_SCHEMAS(m)                                                                            \
  m.def("statistics_correlation(Tensor a, Tensor b, int radius) -> Tensor");                                    \
  m.def("statistics_convolution(Tensor x, Tensor taps) -> Tensor");                                             \
  m.def("statistics_power_sums(Tensor x, Tensor? weight, int count) -> Tensor");                                \
  m.def("statistics_polynomial(Tensor x, Tensor? weight, Tensor coefficients) -> Tensor");                      \
  m.def("statistics_phases(Tensor bands, Tensor? parents) -> (Tensor, Tensor)");                                \
  m.def(                                                                                                        \
      "statistics_phases_gradient(Tensor bands, Tensor? parents, Tensor magnitudes, Tensor reals) -> (Tensor, " \
      "Tensor)")
