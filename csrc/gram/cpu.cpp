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

#define GENIMG_TABLES(level)                   \
  namespace level {                            \
  extern const Kernels<float> float_kernels;   \
  extern const Kernels<double> double_kernels; \
  }
GENIMG_TABLES(baseline)
#if defined(__x86_64__)
GENIMG_TABLES(v3)
GENIMG_TABLES(v4)
GENIMG_TABLES(v4x)
#endif
#undef GENIMG_TABLES

template <typename T>
const Kernels<T>& kernels() {
  static const Kernels<T>& table = [](Isa isa) -> const Kernels<T>& {
    const auto pick = [](const Kernels<float>& f, const Kernels<double>& d) -> const Kernels<T>& {
      if constexpr (std::is_same_v<T, float>)
        return f;
      else
        return d;
    };
#if defined(__x86_64__)
    if (isa == Isa::v4x) return pick(v4x::float_kernels, v4x::double_kernels);
    if (isa == Isa::v4) return pick(v4::float_kernels, v4::double_kernels);
    if (isa == Isa::v3) return pick(v3::float_kernels, v3::double_kernels);
#endif
    return pick(baseline::float_kernels, baseline::double_kernels);
  }(active_isa());
  return table;
}

namespace {

constexpr int64_t round_up(int64_t n, int64_t group) { return (n + group - 1) / group * group; }

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

// One feature map of a batch, some of its pixels packed.
template <typename S, typename T>
class Packed {
 public:
  Packed(const Features<S>& features, int64_t capacity)
      : features_(features),
        // An odd number of cache lines to a row, so that rows do not share their sets of the cache.
        stride_(round_up(capacity, kPixelGroup) + 64 / static_cast<int64_t>(sizeof(T))),
        rows_(round_up(features.shape.channels, kRowGroup)),
        values_(rows_ * stride_) {
    std::fill(values_.get() + features.shape.channels * stride_, values_.get() + rows_ * stride_, T(0));
  }

  // Packs the pixels [begin, end) of map b. factors, pivots: of the whole map; null for 1 and 0.
  void fill(int64_t b, int64_t begin, int64_t end, const T* factors, const T* pivots) {
    const Shape& shape = features_.shape;
    const int64_t* const strides = features_.strides;
    const bool is_flat = strides[2] == shape.columns * strides[3];
    const int64_t columns = is_flat ? shape.pixels() : shape.columns;
    for (int64_t p = begin; p < end;) {
      const int64_t row = p / columns, column = p % columns, count = std::min(end - p, columns - column);
      const Run<S> run = {features_.data + b * strides[0] + row * strides[2] + column * strides[3], shape.channels,
                          strides[1], count, strides[3]};
      pack_of(features_.data)(run, pivots, factors == nullptr ? nullptr : factors + p, values_.get() + (p - begin),
                              stride_);
      p += count;
    }
    pixels_ = round_up(end - begin, kPixelGroup);
    for (int64_t c = 0; c < shape.channels; ++c)
      std::fill(values_.get() + c * stride_ + (end - begin), values_.get() + c * stride_ + pixels_, T(0));
  }

  const T* values() const { return values_.get(); }
  int64_t rows() const { return rows_; }
  int64_t stride() const { return stride_; }
  int64_t pixels() const { return pixels_; }  // a multiple of kPixelGroup; those past the end are 0

 private:
  Features<S> features_;
  int64_t stride_, rows_, pixels_ = 0;
  Scratch<T> values_;
};

// A value of each channel of map b, near to its mean: that of its first pixel.
template <typename S, typename T>
void fill_pivots(const Features<S>& x, int64_t b, T* pivots) {
  for (int64_t c = 0; c < x.shape.channels; ++c)
    pivots[c] = static_cast<T>(number_of(x.data[b * x.strides[0] + c * x.strides[1]]));
}

// Pixels that are packed together: about half of the second cache.
int64_t block_pixels(int64_t row_bytes) {
  constexpr int64_t kBytes = int64_t{512} << 10;
  return std::clamp(kBytes / row_bytes / kPixelGroup * kPixelGroup, int64_t{256}, int64_t{4096});
}

// Runs of blocks whose sums are kept apart: enough for the threads of a usual processor, few enough that adding the
// sums up costs little. They depend on the shape alone, and so do the bits of the result.
int64_t parts_of(int64_t blocks, int64_t sums, int64_t batch) {
  const int64_t wanted = std::max<int64_t>(1, 16 / std::max<int64_t>(batch, 1));
  const int64_t affordable = std::max<int64_t>(1, (int64_t{8} << 20) / std::max<int64_t>(sums, 1));
  return std::min({wanted, affordable, blocks});
}

// What one part adds up: the products of channels and, about pivots, the sums of channels.
struct Sums {
  Sums(int64_t x_rows, int64_t y_rows) : products(x_rows * y_rows), x(x_rows), y(y_rows) {
    std::fill_n(products.get(), x_rows * y_rows, 0.0);
    std::fill_n(x.get(), x_rows, 0.0);
    std::fill_n(y.get(), y_rows, 0.0);
  }
  Scratch<double> products, x, y;
  double total = 0;
};

template <typename S, typename T>
class Product {
 public:
  Product(const Features<S>& x, const Features<S>* y, const PixelFactors<T>& factors, bool center)
      : x_(x),
        y_(y),
        factors_(factors),
        center_(center),
        x_rows_(round_up(x.shape.channels, kRowGroup)),
        y_rows_(y == nullptr ? x_rows_ : round_up(y->shape.channels, kRowGroup)),
        block_(block_pixels((x_rows_ + (y == nullptr ? 0 : y_rows_)) * static_cast<int64_t>(sizeof(T)))),
        blocks_((x.shape.pixels() + block_ - 1) / block_),
        parts_(parts_of(blocks_, x_rows_ * y_rows_, x.shape.batch)) {}

  void run(double scale, const Output<T>& out, const Executor& executor) {
    const int64_t batch = x_.shape.batch;
    std::vector<std::unique_ptr<Sums>> sums(batch * parts_);
    parallel_for(executor, 0, batch * parts_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job) {
        sums[job] = std::make_unique<Sums>(x_rows_, y_rows_);
        add_part(job / parts_, job % parts_, *sums[job]);
      }
    });
    parallel_for(executor, 0, batch, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) write(b, sums.data() + b * parts_, scale, out);
    });
  }

 private:
  const T* pivots(const Features<S>& features, int64_t b, T* storage) const {
    if (!center_) return nullptr;
    fill_pivots(features, b, storage);
    return storage;
  }

  void add_part(int64_t b, int64_t part, Sums& sums) const {
    const Kernels<T>& k = kernels<T>();
    const int64_t pixels = x_.shape.pixels(), capacity = std::min(block_, pixels);
    Packed<S, T> x(x_, capacity), y(y_ == nullptr ? Features<S>{} : *y_, y_ == nullptr ? 0 : capacity);
    const Packed<S, T>& other = y_ == nullptr ? x : y;
    Scratch<T> x_pivots(x_rows_), y_pivots(y_rows_), padded(round_up(capacity, kPixelGroup));
    const T* const factors = factors_of(factors_, x_.shape, b);
    const T* const x_pivot = pivots(x_, b, x_pivots.get());
    const T* const y_pivot = y_ == nullptr ? nullptr : pivots(*y_, b, y_pivots.get());
    for (int64_t block = blocks_ * part / parts_; block < blocks_ * (part + 1) / parts_; ++block) {
      const int64_t begin = block * block_, end = std::min(pixels, begin + block_);
      x.fill(b, begin, end, factors, x_pivot);
      if (y_ != nullptr) y.fill(b, begin, end, factors, y_pivot);
      k.add_products(x.values(), x_rows_, other.values(), y_rows_, x.stride(), x.pixels(), y_ == nullptr,
                     sums.products.get(), y_rows_);
      if (!center_) continue;
      const T* f = nullptr;
      if (factors != nullptr) {
        f = padded.get();
        std::fill(std::copy(factors + begin, factors + end, padded.get()), padded.get() + x.pixels(), T(0));
      }
      k.add_rows(x.values(), x_rows_, x.stride(), x.pixels(), f, sums.x.get());
      if (y_ != nullptr) k.add_rows(y.values(), y_rows_, y.stride(), y.pixels(), f, sums.y.get());
      sums.total += factors == nullptr ? static_cast<double>(end - begin) : sum_of_squares(factors, begin, end);
    }
  }

  static double sum_of_squares(const T* factors, int64_t begin, int64_t end) {
    double total = 0;
    for (int64_t p = begin; p < end; ++p) total += static_cast<double>(factors[p]) * factors[p];
    return total;
  }

  void write(int64_t b, std::unique_ptr<Sums>* parts, double scale, const Output<T>& to) const {
    Sums& sums = *parts[0];
    for (int64_t part = 1; part < parts_; ++part) {
      add(sums.products, parts[part]->products, x_rows_ * y_rows_);
      add(sums.x, parts[part]->x, x_rows_);
      add(sums.y, parts[part]->y, y_rows_);
      sums.total += parts[part]->total;
    }
    const int64_t rows = x_.shape.channels, columns = y_ == nullptr ? rows : y_->shape.channels;
    const double* const y_sums = y_ == nullptr ? sums.x.get() : sums.y.get();
    T* const out = to.gram + b * rows * columns;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = y_ == nullptr ? i : 0; j < columns; ++j) {
        double value = sums.products[i * y_rows_ + j];
        if (center_) value = centered(value, sums.x[i], y_sums[j], sums.total);
        out[i * columns + j] = static_cast<T>(scale * value);
        if (y_ == nullptr) out[j * columns + i] = out[i * columns + j];
      }
    if (to.target != nullptr) subtract(b, rows * columns, to);
    if (to.means == nullptr || !center_) return;
    Scratch<T> pivots(rows);
    fill_pivots(x_, b, pivots.get());
    for (int64_t i = 0; i < rows; ++i)
      to.means[b * rows + i] = static_cast<T>(pivots[i] + (sums.total > 0 ? sums.x[i] / sums.total : 0));
  }

  static void subtract(int64_t b, int64_t n, const Output<T>& to) {
    T* const gram = to.gram + b * n;
    const T* const target = to.target + (to.is_target_batched ? b * n : 0);
    double squares = 0, absolutes = 0;
    for (int64_t i = 0; i < n; ++i) {
      gram[i] -= target[i];
      squares += static_cast<double>(gram[i]) * gram[i];
      absolutes += std::abs(static_cast<double>(gram[i]));
    }
    if (to.sums == nullptr) return;
    to.sums[2 * b] = static_cast<T>(squares);
    to.sums[2 * b + 1] = static_cast<T>(absolutes);
  }

  static void add(Scratch<double>& to, const Scratch<double>& from, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
  }

  const Features<S>& x_;
  const Features<S>* y_;
  const PixelFactors<T>& factors_;
  bool center_;
  int64_t x_rows_, y_rows_, block_, blocks_, parts_;
};

// The means of the channels of map b, weighted by the squares of the factors.
template <typename T>
void fill_means(const Features<T>& x, const T* factors, int64_t b, T* means) {
  const Shape& s = x.shape;
  for (int64_t c = 0; c < s.channels; ++c) {
    const T* const map = x.data + b * x.strides[0] + c * x.strides[1];
    const double pivot = map[0];
    double sum = 0, total = 0;
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column) {
        const double f = factors == nullptr ? 1 : factors[row * s.columns + column];
        sum += f * f * (map[row * x.strides[2] + column * x.strides[3]] - pivot);
        total += f * f;
      }
    means[c] = static_cast<T>(pivot + (total > 0 ? sum / total : 0));
  }
}

// The matrix, scaled, in groups of kRowGroup rows: [group][column][row of the group].
template <typename T>
void group_rows(const T* matrix, int64_t rows, int64_t columns, double scale, T* grouped) {
  for (int64_t i = 0; i < round_up(rows, kRowGroup); ++i)
    for (int64_t j = 0; j < columns; ++j)
      grouped[i / kRowGroup * kRowGroup * columns + j * kRowGroup + i % kRowGroup] =
          i < rows ? static_cast<T>(scale * matrix[i * columns + j]) : T(0);
}

}  // namespace

template <typename S, typename T>
void product(const Features<S>& x, const Features<S>* y, const PixelFactors<T>& factors, bool center, double scale,
             const Output<T>& out, const Executor& executor) {
  if (x.shape.batch > 0) Product<S, T>(x, y, factors, center).run(scale, out, executor);
}

template <typename T>
void apply(const T* matrix, int64_t matrix_rows, const Features<T>& x, const PixelFactors<T>& factors, bool center,
           bool rectified, double scale, T* out, const Executor& executor) {
  const Shape& shape = x.shape;
  const int64_t pixels = shape.pixels(), columns = shape.channels;
  // A smaller block than the product's: the rows of a group of the matrix pass over it again and again.
  const int64_t block = std::min(block_pixels(2 * columns * static_cast<int64_t>(sizeof(T))), pixels);
  if (block == 0 || columns == 0) return;
  const int64_t blocks = (pixels + block - 1) / block, grouped_size = round_up(matrix_rows, kRowGroup) * columns;
  Scratch<T> grouped(shape.batch * grouped_size), means(shape.batch * columns);
  for (int64_t b = 0; b < shape.batch; ++b) {
    group_rows(matrix + b * matrix_rows * columns, matrix_rows, columns, scale, grouped.get() + b * grouped_size);
    if (center) fill_means(x, factors_of(factors, shape, b), b, means.get() + b * columns);
  }
  parallel_for(executor, 0, shape.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    Packed<T, T> packed(x, block);
    Scratch<T> squares(block);
    for (int64_t job = begin; job < end; ++job) {
      const int64_t b = job / blocks, first = job % blocks * block, last = std::min(pixels, first + block);
      const T* f = factors_of(factors, shape, b);
      if (f != nullptr) {
        for (int64_t p = first; p < last; ++p) squares[p - first] = f[p] * f[p];
        f = squares.get() - first;
      }
      packed.fill(b, first, last, f, center ? means.get() + b * columns : nullptr);
      kernels<T>().multiply(grouped.get() + b * grouped_size, matrix_rows, columns, packed.values(), packed.stride(),
                            last - first, rectified, out + b * matrix_rows * pixels + first, pixels);
    }
  });
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
