// What both doors to the multi-view functions share: reading what Python hands over as small arrays of numbers.
#pragma once

#include <cstdint>

#include "multiview/multiview.h"

namespace genimg::bindings {

// A row of a plan: kind, parameters, offsets in the tables (see views/_plan.py).
constexpr int64_t kRowSize = 12;

inline multiview::View view_of(const int64_t* row, const int32_t* tables) {
  multiview::View view{};
  view.kind = static_cast<int32_t>(row[0]);
  for (int i = 0; i < multiview::kParameters; ++i) view.p[i] = static_cast<int32_t>(row[1 + i]);
  view.table = tables + row[7];
  view.channels = row[8] < 0 ? nullptr : tables + row[8];
  return view;
}

inline multiview::Views views_of(const int64_t* rows, int64_t count, const int32_t* tables) {
  multiview::Views views;
  views.count = static_cast<int32_t>(count);
  for (int64_t i = 0; i < count; ++i) views.view[i] = view_of(rows + i * kRowSize, tables);
  return views;
}

// weights: guidance, weights and the variance's weights of all views.
template <typename T>
multiview::Prediction<T> prediction_of(const T* values, bool is_guided, bool has_variance, const double* weights,
                                       int64_t count) {
  multiview::Prediction<T> prediction{values, is_guided, has_variance, {}, {}, {}};
  for (int64_t i = 0; i < count; ++i) {
    prediction.guidance[i] = weights[i];
    prediction.weight[i] = weights[count + i];
    prediction.variance_weight[i] = weights[2 * count + i];
  }
  return prediction;
}

constexpr int64_t kCoefficients = 10;

inline multiview::Sampling sampling_of(const double* k, int64_t average) {
  return {{k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7]}, static_cast<multiview::Average>(average), {k[8], k[9]}};
}

}  // namespace genimg::bindings
