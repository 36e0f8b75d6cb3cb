// Views of a picture and the averaging of what a diffusion model predicts for each: what a sampler does between two
// calls of the network (D. Geng, I. Park, A. Owens, "Visual anagrams", CVPR 2024).
//
// formula.h says what a view and a step are. Pictures are contiguous (batch, channels, height, width), stacks of views
// (copies, views, batch, channels, height, width): the first copy is the unconditional one where there is guidance.
// T is float, double, Half or BFloat; half types are computed in float. The results are the same bits for any executor.
#pragma once

#include <cstdint>

#include "common/executor.h"
#include "multiview/formula.h"

namespace genimg::multiview {

constexpr int kMaxViews = 64;

// height * width is below 2^31.
struct Shape {
  int64_t batch, channels;
  int32_t height, width;
  int64_t pixels() const { return int64_t{height} * width; }
};

struct Views {
  View view[kMaxViews];
  int32_t count = 0;
};

// out[k, i] = factors[k, i] view_i(x); factors null: 1.
template <typename T>
void apply(const T* x, const Shape& shape, const Views& views, int copies, const double* factors, T* out,
           const Executor& executor);

// What the network gave, a stack with the channels of the picture or, has_variance, twice as many: the noise (or
// whatever it predicts) and the learned variance. A view's prediction is u + guidance (c - u), and weighs `weight`; its
// variance is the conditional one, without the view's signs, and weighs `variance_weight`. Views of weights 0 are not
// read.
template <typename T>
struct Prediction {
  const T* values;
  bool is_guided, has_variance;
  double guidance[kMaxViews], weight[kMaxViews], variance_weight[kMaxViews];
};

// noise = sum of weight view^-1(prediction); variance: likewise, null where there is none. `inverse` are the views'
// inverses.
template <typename T>
void reduce(const Prediction<T>& prediction, const Shape& shape, const Views& inverse, T* noise, T* variance,
            const Executor& executor);

// What is averaged over the views: the prediction, the clean pictures it expects, or the pictures after the step.
enum class Average : int { prediction = 0, expected = 1, sample = 2 };

// Of the expected picture: to [-range, range]; with a quantile, to that quantile s of |x0| of each image, at least 1
// and at most `range`, and divided by s (C. Saharia et al. 2022, dynamic thresholding).
struct Clipping {
  double range;     // infinite: none
  double quantile;  // 0: none
};

struct Sampling {
  Step<double> step;
  Average average;
  Clipping clipping;
};

// out = the picture after the step (formula.h); noise may be null: no noise is added. out may be x.
template <typename T>
void step(const T* x, const Prediction<T>& prediction, const Shape& shape, const Views& inverse,
          const Sampling& sampling, const T* noise, T* out, const Executor& executor);

}  // namespace genimg::multiview
