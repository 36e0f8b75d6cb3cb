#include "gram/gram.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "common/isa.h"
#include "common/scratch.h"
#include "gram/kernels.h"

namespace genimg::gram {

GENIMG_DECLARE_LEVELS(extern const Kernels<float> float_kernels; extern const Kernels<double> double_kernels;)

template <typename T>
const Kernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return GENIMG_OF_LEVEL(float_kernels);
  else
    return GENIMG_OF_LEVEL(double_kernels);
}

namespace {

template <typename T>
Kernels<T>::template Pack<T> pack_of(const T*) {
  return kernels<T>().pack;
}
auto pack_of(const Half*) { return kernels<float>().pack_half; }
auto pack_of(const BFloat*) { return kernels<float>().pack_bfloat; }

template <typename S>
auto number_of(S x) {
  if constexpr (std::is_same_v<S, Half>)
    return half_to_float(x.bits);
  else if constexpr (std::is_same_v<S, BFloat>)
    return bfloat_to_float(x.bits);
  else
    return x;
}

template <typename T>
const T* factors_of(const PixelFactors<T>& factors, const Shape& shape, int64_t b) {
  return factors.data == nullptr ? nullptr : factors.data + (factors.batched ? b * shape.pixels() : 0);
}

template <typename T>
const T* target_of(const Output<T>& to, int64_t b, int64_t size) {
  return to.target == nullptr ? nullptr : to.target + (to.is_target_batched ? b * size : 0);
}

int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }

// Whether neighbouring pixels are equally far from each other across the ends of rows too.
template <typename S>
bool is_flat(const Features<S>& x) {
  return x.strides[2] == x.shape.columns * x.strides[3] || x.shape.rows == 1;
}

// function(pixel, pixels, data) for the pixels [begin, end) of map b, in stretches that are equally far apart.
template <typename S, typename Function>
void for_each_stretch(const Features<S>& x, int64_t b, int64_t begin, int64_t end, const Function& function) {
  const int64_t columns = is_flat(x) ? x.shape.pixels() : x.shape.columns;
  for (int64_t p = begin; p < end;) {
    const int64_t row = p / columns, column = p % columns, count = std::min(end - p, columns - column);
    function(p, count, x.data + b * x.strides[0] + row * x.strides[2] + column * x.strides[3]);
    p += count;
  }
}

// The channels' values at the first pixel of map b, near to their means; 0 up to whole panels.
template <typename S, typename T>
Scratch<T> pivots_of(const Features<S>& x, int64_t b) {
  const int64_t padded = panels_of(x.shape.channels) * kPanel;
  Scratch<T> pivots(padded);
  for (int64_t c = 0; c < padded; ++c)
    pivots[c] = c < x.shape.channels ? static_cast<T>(number_of(x.data[b * x.strides[0] + c * x.strides[1]])) : T(0);
  return pivots;
}

// Packs the pixels [begin, end) of a panel of channels: lanes are channels, steps pixels.
template <typename S, typename T>
void pack_channels(const Features<S>& x, int64_t b, int64_t panel, int64_t begin, int64_t end, const T* pivots,
                   const T* factors, T* to) {
  const int64_t first = panel * kPanel, lanes = std::min<int64_t>(kPanel, x.shape.channels - first);
  for_each_stretch(x, b, begin, end, [&](int64_t p, int64_t count, const S* data) {
    const Strip<S> strip = {data + first * x.strides[1], lanes, x.strides[1], count, x.strides[3]};
    Weighting<T> weighting;
    if (pivots != nullptr) weighting.lane_offsets = pivots + first;
    if (factors != nullptr) weighting.step_factors = factors + p;
    pack_of(x.data)(strip, weighting, to + (p - begin) * kPanel);
  });
}
// The same in pairs of pixels, of maps whose pixels are equally far apart.
void pack_channels(const Features<BFloat>& x, int64_t b, int64_t panel, int64_t begin, int64_t end, const float*,
                   const float*, uint32_t* to) {
  const int64_t first = panel * kPanel, lanes = std::min<int64_t>(kPanel, x.shape.channels - first);
  const BFloat* const data = x.data + b * x.strides[0] + first * x.strides[1] + begin * x.strides[3];
  kernels<float>().pack_pairs({data, lanes, x.strides[1], end - begin, x.strides[3]}, to);
}

void add_products(const Kernels<float>& k, const uint32_t* row_panel, const Panels<uint32_t>& panels, double* sums,
                  int64_t stride) {
  k.add_pair_products(row_panel, panels, sums, stride);
}
template <typename T>
void add_products(const Kernels<T>& k, const T* row_panel, const Panels<T>& panels, double* sums, int64_t stride) {
  k.add_products(row_panel, panels, sums, stride);
}

// What one job adds up: products of a stripe of rows with all columns and, about pivots, sums of channels.
struct Sums {
  Sums(int64_t products_size, int64_t rows, int64_t columns) : products(products_size), x(rows), y(columns) {
    std::fill_n(products.get(), products_size, 0.0);
    std::fill_n(x.get(), rows, 0.0);
    std::fill_n(y.get(), columns, 0.0);
  }
  void add(const Sums& other, int64_t products_size, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < products_size; ++i) products[i] += other.products[i];
    for (int64_t i = 0; i < rows; ++i) x[i] += other.x[i];
    for (int64_t i = 0; i < columns; ++i) y[i] += other.y[i];
    total += other.total;
  }
  Scratch<double> products, x, y;
  double total = 0;
};

template <typename T>
void write_losses(const Losses& losses, int64_t b, const Output<T>& to) {
  if (to.sums == nullptr) return;
  to.sums[2 * b] = static_cast<T>(losses.squares);
  to.sums[2 * b + 1] = static_cast<T>(losses.absolutes);
}

// Rows are the channels of x, columns those of y; without y, columns up to the row's panel are all that is needed.
//
// The work is cut into jobs by the shape alone, so that the bits of the result depend on nothing else: parts of the
// pixels, whose sums are kept apart and added up in order, and stripes of rows where there are few parts.
template <typename S, typename T>
class Product {
 public:
  Product(const Features<S>& x, const Features<S>* y, const PixelFactors<T>& factors, bool center)
      : x_(x),
        y_(y),
        factors_(factors),
        center_(center),
        pairs_(can_pair()),
        rows_(panels_of(x.shape.channels)),
        columns_(y == nullptr ? rows_ : panels_of(y->shape.channels)),
        run_(kRunBytes / kPanel / static_cast<int64_t>(sizeof(T)) * (pairs_ ? 2 : 1)),
        runs_((x.shape.pixels() + run_ - 1) / run_),
        parts_(std::clamp(std::min({x.shape.pixels() / kPartPixels, kJobs / x.shape.batch, affordable_parts()}),
                          int64_t{1}, runs_)),
        stripes_(std::clamp(kLeastJobs / (x.shape.batch * parts_), int64_t{1}, (rows_ + 3) / 4)) {}

  void run(double scale, const Output<T>& out, const Executor& executor) {
    const int64_t batch = x_.shape.batch, jobs = parts_ * stripes_;
    std::vector<std::unique_ptr<Sums>> sums(batch * jobs);
    parallel_for(executor, 0, batch * jobs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job)
        sums[job] = add_part(job / jobs, job % jobs / stripes_, job % stripes_);
    });
    Scratch<Losses> losses(batch * rows_);
    parallel_for(executor, 0, batch * stripes_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job) {
        const int64_t b = job / stripes_, stripe = job % stripes_;
        Sums& total = *sums[b * jobs + stripe];
        for (int64_t part = 1; part < parts_; ++part)
          total.add(*sums[b * jobs + part * stripes_ + stripe], stripe_size(stripe), rows_ * kPanel, columns_ * kPanel);
      }
    });
    parallel_for(executor, 0, batch * rows_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job)
        losses[job] = write(job / rows_, job % rows_, sums.data() + job / rows_ * jobs, scale, out);
    });
    for (int64_t b = 0; b < batch; ++b) write_sums(b, losses.get() + b * rows_, out);
  }

 private:
  static constexpr int64_t kRunBytes = 16 << 10;     // a panel of a run, in the first cache
  static constexpr int64_t kBlockBytes = 256 << 10;  // packed panels of some runs, in the second
  static constexpr int64_t kPartPixels = 2048;       // fewer would cost more in adding the sums up
  static constexpr int64_t kJobs = 16, kLeastJobs = 2;
  static constexpr int64_t kSumsBytes = 64 << 20;  // of all parts of a map

  int64_t affordable_parts() const {
    return kSumsBytes / (rows_ * kPanel * columns_ * kPanel * static_cast<int64_t>(sizeof(double)));
  }

  bool can_pair() const {
    if constexpr (std::is_same_v<S, BFloat>)
      return !center_ && factors_.data == nullptr && kernels<T>().pack_pairs != nullptr && is_flat(x_) &&
             (y_ == nullptr || is_flat(*y_));
    return false;
  }

  // Stripes of rows: of equal areas, of a triangle where there is no y.
  int64_t stripe_begin(int64_t stripe) const {
    if (stripe == stripes_) return rows_;
    const double share = static_cast<double>(stripe) / static_cast<double>(stripes_);
    return static_cast<int64_t>(static_cast<double>(rows_) * (y_ == nullptr ? std::sqrt(share) : share));
  }
  int64_t stripe_of(int64_t row) const {
    int64_t stripe = stripes_ - 1;
    while (stripe_begin(stripe) > row) --stripe;
    return stripe;
  }
  int64_t stride() const { return columns_ * kPanel; }
  int64_t stripe_size(int64_t stripe) const {
    return (stripe_begin(stripe + 1) - stripe_begin(stripe)) * kPanel * stride();
  }

  std::unique_ptr<Sums> add_part(int64_t b, int64_t part, int64_t stripe) const {
    auto sums = std::make_unique<Sums>(stripe_size(stripe), rows_ * kPanel, columns_ * kPanel);
    if constexpr (std::is_same_v<S, BFloat>)
      if (pairs_) {
        add_runs<uint32_t>(b, part, stripe, *sums);
        return sums;
      }
    add_runs<T>(b, part, stripe, *sums);
    return sums;
  }

  // E: what panels consist of.
  template <typename E>
  void add_runs(int64_t b, int64_t part, int64_t stripe, Sums& sums) const {
    const Kernels<T>& k = kernels<T>();
    const int64_t first_row = stripe_begin(stripe), last_row = stripe_begin(stripe + 1);
    // Panels that are packed: without y, rows are columns too.
    const int64_t columns = y_ == nullptr ? last_row : columns_, rows = y_ == nullptr ? 0 : last_row - first_row;
    const int64_t panel_size = kRunBytes / static_cast<int64_t>(sizeof(E)), run_size = (columns + rows) * panel_size;
    const int64_t first_run = runs_ * part / parts_, last_run = runs_ * (part + 1) / parts_;
    const int64_t block = std::clamp(kBlockBytes / ((columns + rows) * kRunBytes), int64_t{1}, last_run - first_run);
    Scratch<E> packed(block * run_size);
    const Features<S>& columns_from = y_ == nullptr ? x_ : *y_;
    const Scratch<T> column_pivots = pivots_of<S, T>(columns_from, b), row_pivots = pivots_of<S, T>(x_, b);
    const T* const factors = factors_of(factors_, x_.shape, b);
    for (int64_t first = first_run; first < last_run; first += block) {
      const int64_t last = std::min(last_run, first + block);
      const auto each_run = [&](int64_t panel, const auto& function) {
        for (int64_t run = first; run < last; ++run) {
          const int64_t begin = run * run_, end = std::min(x_.shape.pixels(), begin + run_);
          function(begin, end, packed.get() + (run - first) * run_size + panel * panel_size);
        }
      };
      for (int64_t panel = 0; panel < columns + rows; ++panel) {
        const bool is_row = panel >= columns;
        const int64_t channels = is_row ? first_row + panel - columns : panel;
        const T* const pivots = is_row ? row_pivots.get() : column_pivots.get();
        each_run(panel, [&](int64_t begin, int64_t end, E* to) {
          pack_channels(is_row ? x_ : columns_from, b, channels, begin, end, center_ ? pivots : nullptr, factors, to);
          if constexpr (std::is_same_v<E, T>)
            if (center_)
              k.add_steps(to, end - begin, factors == nullptr ? nullptr : factors + begin,
                          (is_row ? sums.x : sums.y).get() + channels * kPanel);
        });
      }
      for (int64_t row = first_row; row < last_row; ++row)
        each_run(y_ == nullptr ? row : columns + row - first_row, [&](int64_t begin, int64_t end, const E* row_panel) {
          const E* const run = packed.get() + (begin / run_ - first) * run_size;
          const int64_t steps = std::is_same_v<E, T> ? end - begin : (end - begin + 1) / 2;
          const Panels<E> panels = {run, panel_size, y_ == nullptr ? row + 1 : columns, steps};
          add_products(k, row_panel, panels, sums.products.get() + (row - first_row) * kPanel * stride(), stride());
        });
    }
    if (center_) sums.total = total_of(factors, first_run * run_, std::min(x_.shape.pixels(), last_run * run_));
  }

  static double total_of(const T* factors, int64_t begin, int64_t end) {
    if (factors == nullptr) return static_cast<double>(end - begin);
    double total = 0;
    for (int64_t p = begin; p < end; ++p) total += static_cast<double>(factors[p]) * factors[p];
    return total;
  }

  // Writes a panel of rows of map b, and what stands opposite to it where there is no y.
  Losses write(int64_t b, int64_t row_panel, std::unique_ptr<Sums>* stripes, double scale, const Output<T>& to) const {
    const int64_t stripe = stripe_of(row_panel), rows = x_.shape.channels;
    const int64_t columns = y_ == nullptr ? rows : y_->shape.channels;
    const Sums& sums = *stripes[stripe];
    const double* const column_sums = stripes[stripes_ - 1]->y.get();
    const double* const row_sums = y_ == nullptr ? column_sums : sums.x.get();
    const double* const products = sums.products.get() + (row_panel - stripe_begin(stripe)) * kPanel * stride();
    T* const gram = to.gram + b * rows * columns;
    const T* const target = target_of(to, b, rows * columns);
    const int64_t first = row_panel * kPanel, last = std::min(rows, first + kPanel);
    Losses losses{};
    for (int64_t panel = 0; panel <= (y_ == nullptr ? row_panel : columns_ - 1); ++panel) {
      const int64_t column = panel * kPanel, at = first * columns + column, opposite = column * columns + first;
      const bool is_mirrored = y_ == nullptr && panel < row_panel;
      kernels<T>().write(
          {products + column, stride(), last - first, std::min<int64_t>(kPanel, columns - column), row_sums + first,
           column_sums + column, center_ ? sums.total : 0, scale, gram + at, is_mirrored ? gram + opposite : nullptr,
           target == nullptr ? nullptr : target + at, target == nullptr ? nullptr : target + opposite, columns},
          losses);
    }
    if (to.means == nullptr || !center_) return losses;
    for (int64_t i = first; i < last; ++i) {
      const double pivot = number_of(x_.data[b * x_.strides[0] + i * x_.strides[1]]);
      to.means[b * rows + i] = static_cast<T>(pivot + (sums.total > 0 ? row_sums[i] / sums.total : 0));
    }
    return losses;
  }

  void write_sums(int64_t b, const Losses* losses, const Output<T>& to) const {
    Losses total{};
    for (int64_t row = 0; row < rows_; ++row) {
      total.squares += losses[row].squares;
      total.absolutes += losses[row].absolutes;
    }
    write_losses(total, b, to);
  }

  const Features<S>& x_;
  const Features<S>* y_;
  const PixelFactors<T>& factors_;
  bool center_, pairs_;
  int64_t rows_, columns_, run_, runs_, parts_, stripes_;
};

// Whether channels are so few that a panel is too wide for them, and can be multiplied where they lie.
template <typename S>
bool are_planes(const Features<S>& x) {
  constexpr int64_t kLeastColumns = 128;  // of rows that do not follow each other
  return x.shape.channels <= kPanel && x.strides[3] == 1 && (is_flat(x) || x.shape.columns >= kLeastColumns);
}

// Those of map b, from a pixel on.
template <typename T>
Planes<const T> planes_at(const Features<T>& x, int64_t b, int64_t pixel) {
  const int64_t row = pixel / x.shape.columns, column = pixel % x.shape.columns;
  return {x.data + b * x.strides[0] + row * x.strides[2] + column, x.strides[1], x.shape.channels};
}

// The product of such channels. Parts are cut by the size of a map alone, so that its bits do not depend on the batch.
template <typename T>
class PlaneProduct {
 public:
  PlaneProduct(const Features<T>& x, const Features<T>* y)
      : x_(x), y_(y == nullptr ? x : *y), symmetric_(y == nullptr) {}

  void run(double scale, const Output<T>& out, const Executor& executor) const {
    const int64_t batch = x_.shape.batch, parts = std::max<int64_t>(1, x_.shape.pixels() / kPartPixels);
    Scratch<double> sums(batch * parts * kSums);
    std::fill_n(sums.get(), batch * parts * kSums, 0.0);
    parallel_for(executor, 0, batch * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job) add_part(job / parts, job % parts, parts, sums.get() + job * kSums);
    });
    for (int64_t b = 0; b < batch; ++b) {
      double* const total = sums.get() + b * parts * kSums;
      for (int64_t i = kSums; i < parts * kSums; ++i) total[i % kSums] += total[i];
      write(b, total, scale, out);
    }
  }

 private:
  static constexpr int64_t kPartPixels = 16384;  // about 10 us
  static constexpr int64_t kSums = kPanel * kPanel;

  void add_part(int64_t b, int64_t part, int64_t parts, double* sums) const {
    const int64_t pixels = x_.shape.pixels();
    for_each_stretch(is_flat(x_) ? y_ : x_, b, pixels * part / parts, pixels * (part + 1) / parts,
                     [&](int64_t p, int64_t count, const T*) {
                       kernels<T>().add_plane_products(planes_at(x_, b, p), planes_at(y_, b, p), count, symmetric_,
                                                       sums);
                     });
  }

  void write(int64_t b, double* sums, double scale, const Output<T>& to) const {
    const int64_t rows = x_.shape.channels, columns = y_.shape.channels, size = rows * columns;
    if (symmetric_)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < i; ++j) sums[i * kPanel + j] = sums[j * kPanel + i];
    Losses losses{};
    kernels<T>().write({sums, kPanel, rows, columns, nullptr, nullptr, 0, scale, to.gram + b * size, nullptr,
                        target_of(to, b, size), nullptr, columns},
                       losses);
    write_losses(losses, b, to);
  }

  const Features<T>&x_, &y_;
  bool symmetric_;
};

// The means of the channels of map b, weighted by the squares of the factors: `means` has whole panels.
template <typename T>
void fill_means(const Features<T>& x, int64_t b, const T* squares, T* means, const Executor& executor) {
  constexpr int64_t kSteps = 256;
  const int64_t pixels = x.shape.pixels();
  double total = 0;
  for (int64_t p = 0; p < pixels; ++p) total += squares == nullptr ? 1.0 : squares[p];
  const Scratch<T> pivots = pivots_of<T, T>(x, b);
  parallel_for(executor, 0, panels_of(x.shape.channels), 1, [&](int64_t first, int64_t last) {
    Scratch<T> panel(kSteps * kPanel);
    for (int64_t i = first; i < last; ++i) {
      double sums[kPanel] = {};
      for (int64_t begin = 0; begin < pixels; begin += kSteps) {
        const int64_t end = std::min(pixels, begin + kSteps);
        pack_channels<T, T>(x, b, i, begin, end, pivots.get(), nullptr, panel.get());
        kernels<T>().add_steps(panel.get(), end - begin, squares == nullptr ? nullptr : squares + begin, sums);
      }
      for (int l = 0; l < kPanel; ++l) {
        const int64_t c = i * kPanel + l;
        means[c] = static_cast<T>(pivots[c] + (total > 0 ? sums[l] / total : 0));
      }
    }
  });
}

// The matrix, scaled, in groups of rows: [group][column][row of the group].
template <typename T>
void group_rows(const T* matrix, int64_t rows, int64_t columns, int64_t group, double scale, T* grouped) {
  for (int64_t i = 0; i < (rows + group - 1) / group * group; ++i)
    for (int64_t j = 0; j < columns; ++j)
      grouped[i / group * group * columns + j * group + i % group] =
          i < rows ? static_cast<T>(scale * matrix[i * columns + j]) : T(0);
}

// What multiplies feature maps by matrices. Lanes are pixels, steps channels; a block is as many panels of pixels as
// stay in the second cache while all rows of the matrix pass over them.
template <typename T>
class Application {
 public:
  Application(const T* matrix, int64_t rows, const Features<T>& x, const PixelFactors<T>& factors, bool center,
              bool rectified, double scale, const Executor& executor)
      : x_(x),
        rows_(rows),
        rectified_(rectified),
        group_(kernels<T>().group_rows),
        grouped_size_((rows + group_ - 1) / group_ * group_ * x.shape.channels),
        is_batched_(factors.batched),
        squares_(factors.data == nullptr ? 0 : (factors.batched ? x.shape.batch : 1) * x.shape.pixels()),
        means_size_(center ? panels_of(x.shape.channels) * kPanel : 0),
        means_(x.shape.batch * means_size_),
        grouped_(x.shape.batch * grouped_size_),
        has_factors_(factors.data != nullptr) {
    const int64_t count = has_factors_ ? (is_batched_ ? x.shape.batch : 1) * x.shape.pixels() : 0;
    for (int64_t i = 0; i < count; ++i) squares_[i] = factors.data[i] * factors.data[i];
    for (int64_t b = 0; b < x.shape.batch; ++b) {
      group_rows(matrix + b * rows * x.shape.channels, rows, x.shape.channels, group_, scale,
                 grouped_.get() + b * grouped_size_);
      if (center) fill_means(x, b, squares(b), means_.get() + b * means_size_, executor);
    }
  }

  void run(T* out, const Executor& executor) const {
    const int64_t stretches = is_flat(x_) ? 1 : x_.shape.rows, length = x_.shape.pixels() / stretches;
    const int64_t panel_size = x_.shape.channels * kPanel;
    const int64_t panels =
        std::clamp(kBlockBytes / (panel_size * static_cast<int64_t>(sizeof(T))) / 2 * 2, int64_t{2}, int64_t{64});
    const int64_t block = std::min(panels, panels_of(length)) * kPanel, blocks = (length + block - 1) / block;
    parallel_for(executor, 0, x_.shape.batch * stretches * blocks, 1, [&](int64_t begin, int64_t end) {
      Scratch<T> packed(block / kPanel * panel_size);
      for (int64_t job = begin; job < end; ++job) {
        const int64_t b = job / blocks / stretches, stretch = job / blocks % stretches, first = job % blocks * block;
        const int64_t pixels = std::min(block, length - first);
        pack(b, stretch * length + first, stretch, first, pixels, packed.get());
        multiply(b, packed.get(), pixels, out + b * rows_ * x_.shape.pixels() + stretch * length + first);
      }
    });
  }

 private:
  static constexpr int64_t kBlockBytes = 256 << 10;

  const T* squares(int64_t b) const {
    return has_factors_ ? squares_.get() + (is_batched_ ? b * x_.shape.pixels() : 0) : nullptr;
  }

  void pack(int64_t b, int64_t pixel, int64_t stretch, int64_t first, int64_t pixels, T* packed) const {
    const int64_t* const strides = x_.strides;
    const T* const data = x_.data + b * strides[0] + stretch * strides[2] + first * strides[3];
    for (int64_t p = 0; p < pixels; p += kPanel) {
      const int64_t lanes = std::min<int64_t>(kPanel, pixels - p);
      Weighting<T> weighting;
      T factors[kPanel] = {};
      if (means_size_ > 0) weighting.step_offsets = means_.get() + b * means_size_;
      if (has_factors_) {
        std::copy_n(squares(b) + pixel + p, lanes, factors);
        weighting.lane_factors = factors;
      }
      kernels<T>().pack({data + p * strides[3], lanes, strides[3], x_.shape.channels, strides[1]}, weighting,
                        packed + p * x_.shape.channels);
    }
  }

  void multiply(int64_t b, const T* packed, int64_t pixels, T* out) const {
    const int64_t channels = x_.shape.channels;
    const Panels<T> panels = {packed, channels * kPanel, panels_of(pixels), channels};
    for (int64_t row = 0; row < rows_; row += group_) {
      const T* const gate = rectified_ ? packed + row * kPanel : nullptr;
      kernels<T>().multiply(grouped_.get() + b * grouped_size_ + row * channels, panels,
                            {out + row * x_.shape.pixels(), x_.shape.pixels(), rows_ - row, pixels, gate});
    }
  }

  const Features<T>& x_;
  int64_t rows_;
  bool rectified_;
  int64_t group_, grouped_size_;
  bool is_batched_;
  Scratch<T> squares_;
  int64_t means_size_;
  Scratch<T> means_, grouped_;
  bool has_factors_;
};

// The same of few channels, by matrices of few rows.
template <typename T>
void multiply_planes(const T* matrix, int64_t rows, const Features<T>& x, double scale, T* out,
                     const Executor& executor) {
  constexpr int64_t kPixels = 8192;  // a job's
  const int64_t pixels = x.shape.pixels(), blocks = (pixels + kPixels - 1) / kPixels, size = rows * x.shape.channels;
  parallel_for(executor, 0, x.shape.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    T scaled[kPanel * kPanel];
    for (int64_t job = begin; job < end; ++job) {
      const int64_t b = job / blocks, first = job % blocks * kPixels;
      for (int64_t i = 0; i < size; ++i) scaled[i] = static_cast<T>(scale * matrix[b * size + i]);
      for_each_stretch(x, b, first, std::min(pixels, first + kPixels), [&](int64_t p, int64_t count, const T*) {
        kernels<T>().multiply_planes(scaled, planes_at(x, b, p), count, {out + b * rows * pixels + p, pixels, rows});
      });
    }
  });
}

}  // namespace

template <typename S, typename T>
void product(const Features<S>& x, const Features<S>* y, const PixelFactors<T>& factors, bool center, double scale,
             const Output<T>& out, const Executor& executor) {
  if (x.shape.batch == 0) return;
  if constexpr (std::is_same_v<S, T>)
    if (!center && factors.data == nullptr && are_planes(x) && (y == nullptr || are_planes(*y)))
      return PlaneProduct<T>(x, y).run(scale, out, executor);
  Product<S, T>(x, y, factors, center).run(scale, out, executor);
}

template <typename T>
void apply(const T* matrix, int64_t matrix_rows, const Features<T>& x, const PixelFactors<T>& factors, bool center,
           bool rectified, double scale, T* out, const Executor& executor) {
  if (x.shape.pixels() == 0 || x.shape.channels == 0) return;
  if (factors.data == nullptr && !center && !rectified && matrix_rows <= kPanel && are_planes(x))
    return multiply_planes(matrix, matrix_rows, x, scale, out, executor);
  Application<T>(matrix, matrix_rows, x, factors, center, rectified, scale, executor).run(out, executor);
}

#define GENIMG_PRODUCT(S, T)                                                                          \
  template void product(const Features<S>&, const Features<S>*, const PixelFactors<T>&, bool, double, \
                        const Output<T>&, const Executor&);
GENIMG_PRODUCT(float, float)
GENIMG_PRODUCT(double, double)
GENIMG_PRODUCT(Half, float)
GENIMG_PRODUCT(BFloat, float)
#undef GENIMG_PRODUCT
#define GENIMG_APPLY(T)                                                                                      \
  template void apply(const T*, int64_t, const Features<T>&, const PixelFactors<T>&, bool, bool, double, T*, \
                      const Executor&);
GENIMG_APPLY(float)
GENIMG_APPLY(double)
#undef GENIMG_APPLY

}  // namespace genimg::gram
