#include "multiview/multiview.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "common/isa.h"
#include "common/scratch.h"
#include "multiview/kernels.h"

namespace genimg::multiview {

GENIMG_DECLARE_LEVELS(extern const Kernels<float> float_kernels; extern const Kernels<double> double_kernels;
                      extern const Kernels<Half> half_kernels; extern const Kernels<BFloat> bfloat_kernels;
                      extern const FindSources find_sources;)

template <typename T>
const Kernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return GENIMG_OF_LEVEL(float_kernels);
  else if constexpr (std::is_same_v<T, double>)
    return GENIMG_OF_LEVEL(double_kernels);
  else if constexpr (std::is_same_v<T, Half>)
    return GENIMG_OF_LEVEL(half_kernels);
  else
    return GENIMG_OF_LEVEL(bfloat_kernels);
}
FindSources find_sources() { return GENIMG_OF_LEVEL(find_sources); }

namespace {

bool all_by_rows(const Views& views) {
  return std::all_of(views.view, views.view + views.count, [](const View& view) { return is_by_rows(view); });
}

// The rows of all views follow each other as the pixels within them do.
bool all_in_runs(const Views& views) {
  return std::all_of(views.view, views.view + views.count,
                     [](const View& view) { return is_by_rows(view) && view.p[0] == view.p[4]; });
}

// Tiles of a picture, by its shape and the views alone: whole rows where all views move rows, else narrow strips, so
// that what a turned view or one of rolled columns reads stays in the nearest cache.
struct Tiling {
  Tiling(const Shape& shape, const Views& views) : shape_(shape) {
    columns = std::min<int32_t>(shape.width, all_by_rows(views) ? 1024 : 64);
    rows = std::min<int32_t>(shape.height, std::max<int32_t>(1, kTilePixels / columns));
    across_ = (shape.width + columns - 1) / columns;
    per_plane = across_ * ((shape.height + rows - 1) / rows);
  }
  Tile tile(int64_t index) const {
    const int32_t y = static_cast<int32_t>(index / across_) * rows, x = static_cast<int32_t>(index % across_) * columns;
    return {y, x, std::min(rows, shape_.height - y), std::min(columns, shape_.width - x)};
  }

  int32_t rows, columns;
  int64_t per_plane;

 private:
  const Shape& shape_;
  int64_t across_;
};

bool needs_indices(const View& view) { return view.kind != kAffine && view.kind != kRoll; }

// The sources of a tile for each view: affine ones need none, the others have theirs found once for all channels.
class Gathers {
 public:
  Gathers(const Shape& shape, const Views& views) : shape_(shape), views_(views), indices_(space(views)) {}

  void look_at(const Tile& tile) {
    int64_t used = 0;
    for (int i = 0; i < views_.count; ++i) {
      gathers_[i] = {&views_.view[i], shape_.height, shape_.width, tile, nullptr};
      if (!needs_indices(views_.view[i])) continue;
      int32_t* const indices = indices_.get() + used++ * kTilePixels;
      find_sources()(views_.view[i], shape_.height, shape_.width, tile, indices);
      gathers_[i].indices = indices;
    }
  }
  const Gather& of(int view) const { return gathers_[view]; }

 private:
  static size_t space(const Views& views) {
    size_t n = 0;
    for (int i = 0; i < views.count; ++i) n += needs_indices(views.view[i]);
    return n * kTilePixels;
  }
  const Shape& shape_;
  const Views& views_;
  Scratch<int32_t> indices_;
  Gather gathers_[kMaxViews];
};

// The tiles of all images, on several threads where a thread gets at least 2^17 numbers to read.
template <typename Loop>
void for_each_tile(const Shape& shape, const Views& views, int64_t planes_read, const Executor& executor, Loop loop) {
  const Tiling tiling(shape, views);
  const int64_t numbers = std::max<int64_t>(1, planes_read * tiling.rows * tiling.columns);
  parallel_for(executor, 0, shape.batch * tiling.per_plane, (131072 + numbers - 1) / numbers,
               [&](int64_t begin, int64_t end) {
                 Gathers gathers(shape, views);
                 for (int64_t i = begin; i < end; ++i) {
                   const Tile tile = tiling.tile(i % tiling.per_plane);
                   gathers.look_at(tile);
                   loop(i / tiling.per_plane, tile, gathers);
                 }
               });
}

// Reads a stack of predictions.
template <typename T>
class Stack {
 public:
  using R = typename Real<T>::type;
  Stack(const Prediction<T>& prediction, const Shape& shape, const Views& views)
      : prediction_(prediction),
        shape_(shape),
        views_(views),
        channels_(shape.channels * (prediction.has_variance ? 2 : 1)) {}

  int64_t planes_read() const { return views_.count * channels_ * (prediction_.is_guided ? 2 : 1); }

  // sums = or += the prediction of a view for one channel, times weight.
  void add(const Gathers& gathers, int view, int64_t image, int64_t channel, R weight, bool is_first, R* sums) const {
    const View& v = views_.view[view];
    const int32_t c = static_cast<int32_t>(channel), from = channel_source(v, c);
    const T* const conditional = plane(prediction_.is_guided, view, image, from);
    const T* const unconditional = prediction_.is_guided ? plane(0, view, image, from) : nullptr;
    kernels<T>().add(gathers.of(view), unconditional, conditional, R(prediction_.guidance[view]),
                     weight * R(channel_sign(v, c)), is_first, sums);
  }
  void add_variance(const Gathers& gathers, int view, int64_t image, int64_t channel, R weight, bool is_first,
                    R* sums) const {
    const int64_t from = channel_source(views_.view[view], static_cast<int32_t>(channel)) + shape_.channels;
    kernels<T>().add(gathers.of(view), nullptr, plane(prediction_.is_guided, view, image, from), R(0), weight, is_first,
                     sums);
  }

  // The views that weigh anything, at a pixel of one channel, for step_rows; returns how many.
  int rows_at(int64_t image, int64_t channel, int32_t y, int32_t x, bool learns,
              typename Kernels<T>::RowView* rows) const {
    int count = 0;
    for (int i = 0; i < views_.count; ++i) {
      if (prediction_.weight[i] == 0 && prediction_.variance_weight[i] == 0) continue;
      const View& v = views_.view[i];
      const int32_t c = static_cast<int32_t>(channel), from = channel_source(v, c);
      const int64_t at = affine_source(v.p, y, x, shape_.width);
      rows[count++] = {prediction_.is_guided ? plane(0, i, image, from) + at : nullptr,
                       plane(prediction_.is_guided, i, image, from) + at,
                       learns ? plane(prediction_.is_guided, i, image, from + shape_.channels) + at : nullptr,
                       R(prediction_.guidance[i]),
                       R(prediction_.weight[i]) * R(channel_sign(v, c)),
                       R(prediction_.variance_weight[i]),
                       v.p[4] < 0};
    }
    return count;
  }

  // The weighted sums over the views.
  void reduce(const Gathers& gathers, int64_t image, int64_t channel, R* sums) const {
    bool is_first = true;
    for (int i = 0; i < views_.count; ++i)
      if (prediction_.weight[i] != 0) {
        add(gathers, i, image, channel, R(prediction_.weight[i]), is_first, sums);
        is_first = false;
      }
    if (is_first) std::fill_n(sums, kTilePixels, R(0));
  }
  void reduce_variance(const Gathers& gathers, int64_t image, int64_t channel, R* sums) const {
    bool is_first = true;
    for (int i = 0; i < views_.count; ++i)
      if (prediction_.variance_weight[i] != 0) {
        add_variance(gathers, i, image, channel, R(prediction_.variance_weight[i]), is_first, sums);
        is_first = false;
      }
    if (is_first) std::fill_n(sums, kTilePixels, R(0));
  }

 private:
  const T* plane(int64_t copy, int64_t view, int64_t image, int64_t channel) const {
    return prediction_.values +
           (((copy * views_.count + view) * shape_.batch + image) * channels_ + channel) * shape_.pixels();
  }
  const Prediction<T>& prediction_;
  const Shape& shape_;
  const Views& views_;
  int64_t channels_;
};

// The rows of a tile: where they lie in a plane, and in its sums.
template <typename Loop>
void for_each_row(const Shape& shape, const Tile& tile, int64_t plane, Loop loop) {
  // Whole rows are one.
  const bool whole = tile.columns == shape.width;
  const int64_t n = whole ? int64_t{tile.rows} * tile.columns : tile.columns;
  const int64_t first = plane * shape.pixels() + int64_t{tile.y} * shape.width + tile.x;
  for (int32_t r = 0; r < (whole ? 1 : tile.rows); ++r)
    loop(first + int64_t{r} * shape.width, int64_t{r} * tile.columns, n);
}

template <typename T>
struct Buffer {
  alignas(64) T data[kTilePixels];
};

// ---- dynamic thresholds

// The quantile of non-negative numbers, as numpy.quantile's "linear". NaN where one of them is. Their bits are in their
// order: the first pass counts by the upper ones, the second sorts out what has the right ones.
template <typename R>
R quantile_of(const R* values, int64_t n, double quantile) {
  using Bits = std::conditional_t<sizeof(R) == 4, uint32_t, uint64_t>;
  constexpr int shift = sizeof(R) == 4 ? 20 : 52, bins = 1 << 12;
  const auto bin_of = [](R x) {
    Bits bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return static_cast<int>(bits >> shift);
  };
  std::vector<int64_t> counts(bins);
  bool has_nan = false;
  for (int64_t i = 0; i < n; ++i) {
    ++counts[bin_of(values[i])];
    has_nan |= values[i] != values[i];
  }
  if (has_nan) return std::numeric_limits<R>::quiet_NaN();
  const double position = quantile * static_cast<double>(n - 1);
  const int64_t lower = static_cast<int64_t>(position), upper = std::min(lower + 1, n - 1);
  const auto nth = [&](int64_t rank) {
    int bin = 0;
    int64_t before = 0;
    while (before + counts[bin] <= rank) before += counts[bin++];
    std::vector<R> candidates;
    candidates.reserve(counts[bin]);
    for (int64_t i = 0; i < n; ++i)
      if (bin_of(values[i]) == bin) candidates.push_back(values[i]);
    // The next one is often among them too.
    const auto place = candidates.begin() + (rank - before);
    std::nth_element(candidates.begin(), place, candidates.end());
    const R found = *place;
    R next = std::numeric_limits<R>::infinity();
    for (auto one = place + 1; one < candidates.end(); ++one) next = std::min(next, *one);
    if (place + 1 == candidates.end())
      for (int64_t i = 0; i < n; ++i)
        if (bin_of(values[i]) > bin) next = std::min(next, values[i]);
    return std::pair<R, R>(found, next);
  };
  const auto [low, next] = nth(lower);
  const R high = upper == lower ? low : next, weight = R(position - static_cast<double>(lower));
  return low + (high - low) * weight;
}

// For each view that is averaged by itself, or for their average (one), and each image: the limit of |x0|.
template <typename T>
using Limits = std::vector<typename Real<T>::type>;

struct Limit {
  double limit, scale;
};
Limit limit_of(const Clipping& clipping, double quantile) {
  if (clipping.quantile == 0) return {clipping.range, 1};
  const double s = quantile != quantile ? quantile : std::min(std::max(quantile, 1.0), clipping.range);
  return {s, 1 / s};
}

}  // namespace

// A result of more bytes than this goes past the caches.
constexpr int64_t kStreamedBytes = int64_t{8} << 20;

template <typename T>
void apply(const T* x, const Shape& shape, const Views& views, int copies, const double* factors, T* out,
           const Executor& executor) {
  using R = typename Real<T>::type;
  const int64_t planes = shape.channels * views.count * copies, row_bytes = shape.width * int64_t{sizeof(T)};
  const bool streams = planes * shape.batch * shape.height * row_bytes > kStreamedBytes && row_bytes % 64 == 0 &&
                       reinterpret_cast<uintptr_t>(out) % 64 == 0;
  const View identity{kAffine, {1, 0, 0, 0, 1, 0}, nullptr, nullptr};
  const auto factor_of = [&](int copy, int view) {
    return factors == nullptr ? R(1) : R(factors[copy * views.count + view]);
  };
  const auto plane_of = [&](int copy, int view, int64_t image, int64_t channel) {
    return out +
           (((int64_t{copy} * views.count + view) * shape.batch + image) * shape.channels + channel) * shape.pixels();
  };
  for_each_tile(shape, views, planes, executor, [&](int64_t image, const Tile& tile, const Gathers& gathers) {
    const Gather again{&identity, shape.height, shape.width, tile, nullptr};
    for (int64_t c = 0; c < shape.channels; ++c)
      for (int i = 0; i < views.count; ++i)
        for (int k = 0; k < copies; ++k) {
          const View& view = views.view[i];
          // What has been turned once is copied; rows cost no more than that.
          if (!streams && k > 0 && !is_by_rows(view) && factor_of(k, i) == factor_of(0, i)) {
            kernels<T>().copy(again, plane_of(0, i, image, c), R(1), false, plane_of(k, i, image, c));
            continue;
          }
          const int64_t from = channel_source(view, static_cast<int32_t>(c));
          kernels<T>().copy(gathers.of(i), x + (image * shape.channels + from) * shape.pixels(),
                            factor_of(k, i) * R(channel_sign(view, static_cast<int32_t>(c))), streams,
                            plane_of(k, i, image, c));
        }
    if (streams) kernels<T>().finish_streams();
  });
}

template <typename T>
void reduce(const Prediction<T>& prediction, const Shape& shape, const Views& inverse, T* noise, T* variance,
            const Executor& executor) {
  using R = typename Real<T>::type;
  const Stack<T> stack(prediction, shape, inverse);
  for_each_tile(
      shape, inverse, stack.planes_read(), executor, [&](int64_t image, const Tile& tile, const Gathers& gathers) {
        Buffer<R> sums;
        const auto write = [&](int64_t channel, T* out) {
          for_each_row(shape, tile, image * shape.channels + channel,
                       [&](int64_t at, int64_t row, int64_t n) { kernels<T>().convert(sums.data + row, n, out + at); });
        };
        for (int64_t c = 0; c < shape.channels; ++c) {
          stack.reduce(gathers, image, c, sums.data);
          write(c, noise);
          if (variance == nullptr) continue;
          stack.reduce_variance(gathers, image, c, sums.data);
          write(c, variance);
        }
      });
}

namespace {

// A step on the tiles of a picture.
template <typename T>
class Stepper {
 public:
  using R = typename Real<T>::type;
  Stepper(const T* x, const Prediction<T>& prediction, const Shape& shape, const Views& inverse,
          const Sampling& sampling)
      : x_(x),
        prediction_(prediction),
        shape_(shape),
        inverse_(inverse),
        sampling_(sampling),
        stack_(prediction, shape, inverse),
        step_(converted<R>(sampling.step)) {}

  void run(const T* noise, T* out, const Executor& executor) {
    const bool learns = prediction_.has_variance && noise != nullptr;
    find_limits(executor);
    if (!is_apart() && all_by_rows(inverse_)) return run_by_rows(learns, noise, out, executor);
    for_each_tile(shape_, inverse_, stack_.planes_read(), executor,
                  [&](int64_t image, const Tile& tile, const Gathers& gathers) {
                    Buffer<R> m, x0, variance;
                    const bool apart = is_apart();
                    for (int64_t c = 0; c < shape_.channels; ++c) {
                      if (apart)
                        expect(tile, gathers, image, c, m.data, x0.data);
                      else
                        stack_.reduce(gathers, image, c, m.data);
                      const bool deviates = learns && sampling_.average == Average::sample;
                      if (deviates)
                        deviate(tile, gathers, image, c, variance.data);
                      else if (learns)
                        stack_.reduce_variance(gathers, image, c, variance.data);
                      const Limit limit = limit_of(sampling_.clipping, quantile(0, image));
                      for_each_row(shape_, tile, image * shape_.channels + c, [&](int64_t at, int64_t row, int64_t n) {
                        const typename Kernels<T>::Rows rows = {x_ + at,
                                                                m.data + row,
                                                                apart ? x0.data + row : nullptr,
                                                                learns && !deviates ? variance.data + row : nullptr,
                                                                deviates ? variance.data + row : nullptr,
                                                                noise == nullptr ? nullptr : noise + at,
                                                                out + at};
                        kernels<T>().finish(step_, rows, R(limit.limit), R(limit.scale), n);
                      });
                    }
                  });
  }

 private:
  // Without sums in memory: all views of a row at once.
  void run_by_rows(bool learns, const T* noise, T* out, const Executor& executor) const {
    for_each_tile(
        shape_, inverse_, stack_.planes_read(), executor, [&](int64_t image, const Tile& tile, const Gathers&) {
          const Limit limit = limit_of(sampling_.clipping, quantile(0, image));
          typename Kernels<T>::RowView rows[kMaxViews];
          // Where rows follow each other in all views, those of a tile are one.
          const bool is_run = tile.columns == shape_.width && all_in_runs(inverse_);
          const int32_t together = is_run ? tile.rows : 1;
          for (int64_t c = 0; c < shape_.channels; ++c)
            for (int32_t y = tile.y; y < tile.y + tile.rows; y += together) {
              const int count = stack_.rows_at(image, c, y, tile.x, learns, rows);
              const int64_t at = (image * shape_.channels + c) * shape_.pixels() + int64_t{y} * shape_.width + tile.x;
              kernels<T>().step_rows(step_, rows, count, x_ + at, noise == nullptr ? nullptr : noise + at,
                                     R(limit.limit), R(limit.scale), int64_t{together} * tile.columns, out + at);
            }
        });
  }

  // Each view's clean picture is clipped by itself.
  bool is_apart() const { return sampling_.average != Average::prediction; }

  double quantile(int view, int64_t image) const {
    return limits_.empty() ? 0 : limits_[(is_apart() ? view : 0) * shape_.batch + image];
  }

  // m and x0: the averages over the views of the predictions and of the clean pictures.
  void expect(const Tile& tile, const Gathers& gathers, int64_t image, int64_t channel, R* m, R* x0) const {
    Buffer<R> one;
    bool is_first = true;
    std::fill_n(m, kTilePixels, R(0));
    std::fill_n(x0, kTilePixels, R(0));
    for (int i = 0; i < inverse_.count; ++i) {
      const R weight = R(prediction_.weight[i]);
      if (weight == 0) continue;
      stack_.add(gathers, i, image, channel, R(1), true, one.data);
      const Limit limit = limit_of(sampling_.clipping, quantile(i, image));
      for_each_row(shape_, tile, image * shape_.channels + channel, [&](int64_t at, int64_t row, int64_t n) {
        kernels<T>().add_expected(step_, x_ + at, one.data + row, R(limit.limit), R(limit.scale), weight, is_first, n,
                                  x0 + row);
      });
      for (int64_t p = 0; p < int64_t{tile.rows} * tile.columns; ++p) m[p] += weight * one.data[p];
      is_first = false;
    }
  }

  void deviate(const Tile& tile, const Gathers& gathers, int64_t image, int64_t channel, R* deviation) const {
    Buffer<R> one;
    bool is_first = true;
    const int64_t n = int64_t{tile.rows} * tile.columns;
    std::fill_n(deviation, n, R(0));
    for (int i = 0; i < inverse_.count; ++i) {
      const R weight = R(prediction_.variance_weight[i]);
      if (weight == 0) continue;
      stack_.add_variance(gathers, i, image, channel, R(1), true, one.data);
      kernels<T>().add_deviation(step_, one.data, weight, is_first, n, deviation);
      is_first = false;
    }
  }

  // With a dynamic threshold: the quantiles of what the views, or their average, expect.
  void find_limits(const Executor& executor) {
    if (sampling_.clipping.quantile == 0) return;
    const int parts = is_apart() ? inverse_.count : 1;
    limits_.assign(parts * shape_.batch, R(0));
    const int64_t size = shape_.channels * shape_.pixels();
    const Scratch<R> sizes(shape_.batch * size);
    for (int part = 0; part < parts; ++part) {
      if (is_apart() && prediction_.weight[part] == 0) continue;
      for_each_tile(shape_, inverse_, stack_.planes_read(), executor,
                    [&](int64_t image, const Tile& tile, const Gathers& gathers) {
                      Buffer<R> m;
                      for (int64_t c = 0; c < shape_.channels; ++c) {
                        if (is_apart())
                          stack_.add(gathers, part, image, c, R(1), true, m.data);
                        else
                          stack_.reduce(gathers, image, c, m.data);
                        for_each_row(
                            shape_, tile, image * shape_.channels + c, [&](int64_t at, int64_t row, int64_t n) {
                              for (int64_t p = 0; p < n; ++p)
                                sizes[at + p] = std::abs(expected(step_, Real<T>::from(x_[at + p]), m.data[row + p]));
                            });
                      }
                    });
      parallel_for(executor, 0, shape_.batch, 1, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b)
          limits_[part * shape_.batch + b] = quantile_of(sizes.get() + b * size, size, sampling_.clipping.quantile);
      });
    }
  }

  const T* const x_;
  const Prediction<T>& prediction_;
  const Shape& shape_;
  const Views& inverse_;
  const Sampling& sampling_;
  const Stack<T> stack_;
  const Step<R> step_;
  std::vector<R> limits_;
};

}  // namespace

template <typename T>
void step(const T* x, const Prediction<T>& prediction, const Shape& shape, const Views& inverse,
          const Sampling& sampling, const T* noise, T* out, const Executor& executor) {
  Stepper<T>(x, prediction, shape, inverse, sampling).run(noise, out, executor);
}

#define GENIMG_MULTIVIEW(T)                                                                                        \
  template void apply<T>(const T*, const Shape&, const Views&, int, const double*, T*, const Executor&);           \
  template void reduce<T>(const Prediction<T>&, const Shape&, const Views&, T*, T*, const Executor&);              \
  template void step<T>(const T*, const Prediction<T>&, const Shape&, const Views&, const Sampling&, const T*, T*, \
                        const Executor&);
GENIMG_MULTIVIEW(float)
GENIMG_MULTIVIEW(double)
GENIMG_MULTIVIEW(Half)
GENIMG_MULTIVIEW(BFloat)

}  // namespace genimg::multiview
