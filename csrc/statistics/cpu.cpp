#include <algorithm>
#include <cstring>
#include <type_traits>

#include "common/isa.h"
#include "common/scratch.h"
#include "statistics/kernels.h"
#include "statistics/statistics.h"

namespace genimg::statistics {

GENIMG_DECLARE_LEVELS(extern const Kernels<float> float_kernels; extern const Kernels<double> double_kernels;)

namespace {

template <typename T>
const Kernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return GENIMG_OF_LEVEL(float_kernels);
  else
    return GENIMG_OF_LEVEL(double_kernels);
}

// Pixels of a job, and of as many jobs as are worth a thread: of sums over lags, and of what takes a few steps a pixel.
constexpr int64_t kBandPixels = 32768, kLeastLagged = 4096, kLeastPixels = 32768;

int64_t parts_of(int64_t n, int64_t size) { return (n + size - 1) / size; }
int64_t rounded_up(int64_t n, int64_t multiple) { return parts_of(n, multiple) * multiple; }
int64_t modulo(int64_t i, int64_t n) { return (i % n + n) % n; }

// Rows of a plane next to each other in memory, with their circular continuation on both sides; 0 beyond it.
template <typename T>
class Padded {
 public:
  // Columns begin at vectors: what lies before them is rounded up.
  Padded(int64_t rows, int64_t columns, int64_t radius)
      : radius_(radius),
        lead_(rounded_up(radius, kernels<T>().lanes)),
        stride_(lead_ + rounded_up(columns + radius, kernels<T>().lanes)),
        data_(rows * stride_) {}

  int64_t stride() const { return stride_; }
  T* row(int64_t y) const { return data_.get() + y * stride_ + lead_; }

  // Copies the columns [first, first + count) of rows from first_row on, which may lie beyond the plane.
  void copy(const T* plane, const Planes& planes, int64_t first_row, int64_t rows, int64_t first, int64_t count) {
    int64_t from = modulo(first_row, planes.height);
    for (int64_t y = 0; y < rows; ++y) {
      copy_row(plane + from * planes.width, planes.width, first, count, row(y));
      if (++from == planes.height) from = 0;
    }
  }

 private:
  void copy_row(const T* from, int64_t width, int64_t first, int64_t count, T* to) const {
    std::memcpy(to, from + first, count * sizeof(T));
    for (int64_t i = 1, x = first; i <= radius_; ++i) {
      x = (x == 0 ? width : x) - 1;
      to[-i] = from[x];
    }
    for (int64_t i = 0, x = first + count; i < radius_; ++i, ++x) {
      if (x == width) x = 0;
      to[count + i] = from[x];
    }
    std::fill(to + count + radius_, to + stride_ - lead_, T(0));
  }

  int64_t radius_, lead_, stride_;
  Scratch<T> data_;
};

// The bands of rows that a plane is cut into, by its shape alone, and within them the runs of kernels.h: rows by
// columns.
template <typename T>
struct Cut {
  explicit Cut(const Planes& planes)
      : lanes(kernels<T>().lanes),
        columns(std::min(planes.width, kRunSteps * lanes)),
        rows(std::min(planes.height, std::max<int64_t>(1, kRunSteps / parts_of(columns, lanes)))),
        band_rows(rows * std::max<int64_t>(1, kBandPixels / (rows * planes.width))),
        bands(parts_of(planes.height, band_rows)),
        grain(std::max<int64_t>(1, kLeastLagged / std::min(band_rows * planes.width, planes.pixels()))) {}

  // run(y, rows, x, columns) for each of a band.
  template <typename Function>
  void for_each_run(const Planes& planes, int64_t band, const Function& run) const {
    const int64_t end = std::min(planes.height, (band + 1) * band_rows);
    for (int64_t y = band * band_rows; y < end; y += rows)
      for (int64_t x = 0; x < planes.width; x += columns)
        run(y, std::min(rows, end - y), x, std::min(columns, planes.width - x));
  }

  int64_t lanes, columns, rows, band_rows, bands, grain;
};

// Sums of parts of planes, each of `size` numbers, are added in order.
template <typename Write>
void add_parts(const double* parts, int64_t planes, int64_t count, int64_t size, const Write& write) {
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t i = 0; i < size; ++i) {
      double sum = 0;
      for (int64_t part = 0; part < count; ++part) sum += parts[(plane * count + part) * size + i];
      write(plane, i, sum);
    }
}

// Sums that the kernels keep in parts, one for each lane.
template <typename T>
class LaneSums {
 public:
  explicit LaneSums(int64_t count) : lanes_(kernels<T>().double_lanes), count_(count), sums_(count * lanes_) {
    std::fill_n(sums_.get(), count * lanes_, 0.0);
  }
  double* at(int64_t i) const { return sums_.get() + i * lanes_; }
  void write(double* out) const {
    for (int64_t i = 0; i < count_; ++i) {
      double sum = 0;
      for (int64_t lane = 0; lane < lanes_; ++lane) sum += at(i)[lane];
      out[i] = sum;
    }
  }

 private:
  int64_t lanes_, count_;
  Scratch<double> sums_;
};

// For the parts of at most `most` that 0 .. count is cut into: function(first, size).
template <typename Function>
void for_each_part(int count, int most, const Function& function) {
  const int parts = (count + most - 1) / most;
  for (int k = 0; k < parts; ++k) function(count * k / parts, count * (k + 1) / parts - count * k / parts);
}

template <typename T>
class Correlation {
 public:
  Correlation(const T* a, const T* b, const Planes& planes, int radius)
      : a_(a), b_(b), planes_(planes), radius_(radius), size_(2 * radius + 1), cut_(planes) {}

  void run(double* out, const Executor& executor) const {
    const int64_t lags = int64_t{size_} * size_, jobs = planes_.count * cut_.bands;
    Scratch<double> parts(jobs * lags);
    parallel_for(executor, 0, jobs, cut_.grain, [&](int64_t begin, int64_t end) {
      Band band(*this);
      for (int64_t job = begin; job < end; ++job)
        band.sum(job / cut_.bands, job % cut_.bands, parts.get() + job * lags);
    });
    add_parts(parts.get(), planes_.count, cut_.bands, lags,
              [&](int64_t plane, int64_t lag, double sum) { out[plane * lags + lag] = sum; });
    if (is_half())
      for (int64_t plane = 0; plane < planes_.count; ++plane)
        for (int64_t lag = 0; lag < lags / 2; ++lag) out[plane * lags + lag] = out[(plane + 1) * lags - 1 - lag];
  }

 private:
  // Of a with itself only the lags from (0, 0) on are summed.
  bool is_half() const { return a_ == b_; }
  int first_lag() const { return is_half() ? 0 : -radius_; }

  // What one thread needs. Bands consist of rows of b; those of a lie up to the radius above or below.
  class Band {
   public:
    explicit Band(const Correlation& all)
        : all_(all),
          a_rows_(all.cut_.rows + all.radius_ - all.first_lag()),
          a_(a_rows_, all.cut_.columns, 0),
          b_(all.cut_.rows, rounded_up(all.cut_.columns, all.cut_.lanes), all.radius_),
          pointers_(a_rows_) {}

    void sum(int64_t plane, int64_t band, double* out) {
      const LaneSums<T> sums(int64_t{all_.size_} * all_.size_);
      const Planes& planes = all_.planes_;
      const T *const a = all_.a_ + plane * planes.pixels(), *const b = all_.b_ + plane * planes.pixels();
      all_.cut_.for_each_run(planes, band, [&](int64_t y, int64_t rows, int64_t x, int64_t columns) {
        const int radius = all_.radius_;
        const int64_t first_row = y - radius, a_rows = rows + radius - all_.first_lag();
        b_.copy(b, planes, y, rows, x, columns);
        const bool is_whole = columns % all_.cut_.lanes == 0;
        if (!is_whole) a_.copy(a, planes, first_row, a_rows, x, columns);
        for (int64_t i = 0; i < a_rows; ++i)
          pointers_[i] = is_whole ? a + modulo(first_row + i, planes.height) * planes.width + x : a_.row(i);
        sum_blocks({pointers_.get(), b_.row(0), b_.stride(), rows, parts_of(columns, all_.cut_.lanes)}, sums);
      });
      sums.write(out);
    }

   private:
    using Run = typename Kernels<T>::Run;

    void sum_blocks(const Run& run, const LaneSums<T>& sums) const {
      const auto& k = kernels<T>();
      const int radius = all_.radius_, size = all_.size_;
      if (!all_.is_half()) return sum_block(run, -radius, size, -radius, size, sums);
      if (radius == 3 && k.correlate_half_of_3 != nullptr)
        return k.correlate_half_of_3(at(run, 0, -radius), sums.at(size * radius));
      sum_block(run, 0, radius + 1, 0, radius + 1, sums);
      sum_block(run, 1, radius, -radius, radius, sums);
    }

    // The lags from (first_row, first_column) on.
    void sum_block(const Run& run, int first_row, int rows, int first_column, int columns,
                   const LaneSums<T>& sums) const {
      const auto& k = kernels<T>();
      const int radius = all_.radius_, size = all_.size_;
      for_each_part(rows, k.block_rows, [&](int i, int lag_rows) {
        for_each_part(columns, k.block_columns, [&](int j, int lag_columns) {
          const int row = first_row + i, column = first_column + j;
          k.correlate(at(run, row, column), lag_rows, lag_columns, sums.at((row + radius) * size + column + radius),
                      size);
        });
      });
    }

    // A run at a lag.
    Run at(Run run, int row, int column) const {
      run.a += all_.radius_ - row;
      run.b += column;
      return run;
    }

    const Correlation& all_;
    int64_t a_rows_;
    Padded<T> a_, b_;
    Scratch<const T*> pointers_;
  };

  const T *const a_, *const b_;
  const Planes& planes_;
  const int radius_, size_;
  const Cut<T> cut_;
};

}  // namespace

template <typename T>
void correlation(const T* a, const T* b, const Planes& planes, int radius, double* out, const Executor& executor) {
  Correlation<T>(a, b, planes, radius).run(out, executor);
}

template <typename T>
void convolution(const T* x, const double* taps, const Planes& planes, int radius, T* out, const Executor& executor) {
  const int size = 2 * radius + 1;
  const Cut<T> cut(planes);
  parallel_for(executor, 0, planes.count * cut.bands, cut.grain, [&](int64_t begin, int64_t end) {
    Padded<T> rows_of_x(cut.rows + 2 * radius, rounded_up(cut.columns, kMapVectors * cut.lanes), radius);
    const Scratch<T> converted(size * size);
    for (int64_t job = begin; job < end; ++job) {
      const int64_t plane = job / cut.bands;
      std::transform(taps + plane * size * size, taps + (plane + 1) * size * size, converted.get(),
                     [](double tap) { return static_cast<T>(tap); });
      const T* const from = x + plane * planes.pixels();
      cut.for_each_run(planes, job % cut.bands, [&](int64_t row, int64_t rows, int64_t column, int64_t columns) {
        rows_of_x.copy(from, planes, row - radius, rows + 2 * radius, column, columns);
        T* const to = out + plane * planes.pixels() + row * planes.width + column;
        kernels<T>().convolve({rows_of_x.row(0) - radius, rows_of_x.stride(), to, planes.width, rows, columns},
                              converted.get(), size);
      });
    }
  });
}

template <typename T>
void power_sums(const T* x, const T* weight, const Planes& planes, int count, double* out, const Executor& executor) {
  const int64_t pixels = planes.pixels(), bands = parts_of(pixels, kBandPixels), jobs = planes.count * bands;
  const int64_t run = kRunSteps * kernels<T>().lanes;
  Scratch<double> parts(jobs * count);
  parallel_for(executor, 0, jobs, std::max<int64_t>(1, kLeastPixels / pixels), [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end; ++job) {
      const LaneSums<T> sums(count);
      const int64_t first = job % bands * kBandPixels, last = std::min(pixels, first + kBandPixels);
      for (int64_t p = job / bands * pixels + first, left = last - first; left > 0; p += run, left -= run)
        kernels<T>().power_sums(x + p, weight == nullptr ? nullptr : weight + p, std::min(run, left), count,
                                sums.at(0));
      sums.write(parts.get() + job * count);
    }
  });
  add_parts(parts.get(), planes.count, bands, count,
            [&](int64_t plane, int64_t power, double sum) { out[plane * count + power] = sum; });
}

template <typename T>
void polynomial(const T* x, const T* weight, const double* coefficients, const Planes& planes, int count, T* out,
                const Executor& executor) {
  const int64_t pixels = planes.pixels(), bands = parts_of(pixels, kBandPixels);
  parallel_for(executor, 0, planes.count * bands, std::max<int64_t>(1, kLeastPixels / pixels),
               [&](int64_t begin, int64_t end) {
                 for (int64_t job = begin; job < end; ++job) {
                   const int64_t plane = job / bands, first = job % bands * kBandPixels, p = plane * pixels + first;
                   T converted[kMaxPowers];
                   for (int k = 0; k < count; ++k) converted[k] = static_cast<T>(coefficients[plane * count + k]);
                   kernels<T>().polynomial(x + p, weight == nullptr ? nullptr : weight + p, converted, count,
                                           std::min(kBandPixels, pixels - first), out + p);
                 }
               });
}

namespace {

// A part of the pixels of a subband: where it begins, in numbers, in what is read and in what is written.
struct Piece {
  bool is_parent;
  int64_t coefficients;  // in bands or parents
  int64_t magnitudes, reals, imaginaries;
  int64_t count;
};

template <typename T, typename Function>
void for_each_piece(const Subbands<T>& in, const Executor& executor, const Function& function) {
  const int64_t sorts = in.parents == nullptr ? 1 : 2, k = in.orientations, pieces = parts_of(in.pixels, kBandPixels);
  const int64_t reals = in.parents == nullptr ? k : 3 * k;
  parallel_for(executor, 0, in.groups * sorts * k * pieces, std::max<int64_t>(1, kLeastPixels / in.pixels),
               [&](int64_t begin, int64_t end) {
                 for (int64_t job = begin; job < end; ++job) {
                   const int64_t first = job % pieces * kBandPixels, plane = job / pieces % (sorts * k);
                   const int64_t group = job / pieces / (sorts * k), orientation = plane % k;
                   const auto at = [&](int64_t index) { return index * in.pixels + first; };
                   function(Piece{plane >= k, at(group * k + orientation), at(group * sorts * k + plane),
                                  at(group * reals + plane), at(group * reals + plane + k),
                                  std::min(kBandPixels, in.pixels - first)});
                 }
               });
}

}  // namespace

template <typename T>
void magnitudes_and_phases(const Subbands<T>& in, T* magnitudes, T* reals, const Executor& executor) {
  for_each_piece(in, executor, [&](const Piece& p) {
    if (p.is_parent)
      kernels<T>().doubled_phases(in.parents + 2 * p.coefficients, p.count, magnitudes + p.magnitudes, reals + p.reals,
                                  reals + p.imaginaries);
    else
      kernels<T>().magnitudes(in.bands + 2 * p.coefficients, p.count, magnitudes + p.magnitudes, reals + p.reals);
  });
}

template <typename T>
void magnitudes_and_phases_gradient(const Subbands<T>& in, const T* magnitudes, const T* reals, T* bands, T* parents,
                                    const Executor& executor) {
  for_each_piece(in, executor, [&](const Piece& p) {
    const int64_t z = 2 * p.coefficients;
    if (p.is_parent)
      kernels<T>().doubled_phases_gradient(in.parents + z, magnitudes + p.magnitudes, reals + p.reals,
                                           reals + p.imaginaries, p.count, parents + z);
    else
      kernels<T>().magnitudes_gradient(in.bands + z, magnitudes + p.magnitudes, reals + p.reals, p.count, bands + z);
  });
}

#define GENIMG_STATISTICS(T)                                                                               \
  template void correlation<T>(const T*, const T*, const Planes&, int, double*, const Executor&);          \
  template void convolution<T>(const T*, const double*, const Planes&, int, T*, const Executor&);          \
  template void power_sums<T>(const T*, const T*, const Planes&, int, double*, const Executor&);           \
  template void polynomial<T>(const T*, const T*, const double*, const Planes&, int, T*, const Executor&); \
  template void magnitudes_and_phases<T>(const Subbands<T>&, T*, T*, const Executor&);                     \
  template void magnitudes_and_phases_gradient<T>(const Subbands<T>&, const T*, const T*, T*, T*, const Executor&);
GENIMG_STATISTICS(float)
GENIMG_STATISTICS(double)

}  // namespace genimg::statistics
