// The kernels of the fused transform; freq_kernels.h says what they do and in which layouts.
#include "steerable/freq_kernels.h"

#include "common/transpose.h"
#include "steerable/fft.h"
#include "steerable/formula_simd.h"

namespace genimg::steerable {
inline namespace GENIMG_ISA {
namespace {

template <typename T>
constexpr int kLanes = Vector<T>::lanes;
template <typename T>
constexpr int kStep = 2 * Vector<T>::lanes;  // numbers of one complex vector

template <typename T>
int64_t ceil_to_lanes(int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}
// Numbers of a block of spectrum or tiles, and of n vectors of work.
template <typename T>
int64_t block_size(int64_t n) {
  return ceil_to_lanes<T>(n) * kStep<T>;
}

template <typename T>
typename Vector<T>::type lane_index(int64_t first) {
  typename Vector<T>::type v;
  for (int i = 0; i < kLanes<T>; ++i) v[i] = static_cast<T>(first + i);
  return v;
}

template <typename V, typename T>
V square_root(V v) {
  T lanes[sizeof(V) / sizeof(T)];
  store(lanes, v);
  for (T& x : lanes) x = sizeof(T) == 4 ? __builtin_sqrtf(x) : __builtin_sqrt(x);
  return load<V>(lanes);
}

// ---- masks ----

template <typename T, typename V>
V radial_factor(const RadialTable<T>& table, V log_radius) {
  using Kind = typename RadialTable<T>::Kind;
  switch (table.kind) {
    case Kind::highpass:
      return high(log_radius, table.inverse_width);
    case Kind::lowpass:
      return low_product(log_radius, table.level, table.overlap, table.inverse_width);
    case Kind::band:
      break;
  }
  return band_radial(log_radius, table.level, table.overlap, table.inverse_width);
}

template <typename T>
void radial_table(const RadialTable<T>& table, int64_t begin, int64_t end) {
  using V = typename Vector<T>::type;
  for (int64_t block = begin; block < end; ++block) {
    T* const values = table.values + block * (table.half_width + 1) * kLanes<T>;
    const V y = lane_index<T>(block * kLanes<T>) * table.y_step;
    for (int64_t k = 0; k <= table.half_width; ++k) {
      const T x = static_cast<T>(k) * table.x_step;
      V square = y * y + x * x;
      const bool has_dc = block == 0 && k == 0;  // of radius 0, where no direction exists
      if (has_dc) square[0] = 1;
      V log_radius = log2_of(square) * T(0.5);
      if (has_dc) log_radius[0] = T(-1e9);
      V value = radial_factor(table, log_radius) * table.scale;
      const V inverse = table.unit / square_root<V, T>(square);
      for (int i = 0; i < table.order; ++i) value *= inverse;
      store(values + k * kLanes<T>, value);
    }
  }
}

// The filter along one block of rows.
template <typename T>
struct BlockFilter {
  using V = typename Vector<T>::type;
  const T* table;
  const T* negative;  // where the column of kx = 0 would be, if columns went on to the left
  int64_t negative_step, half_width;
  V rise;  // y sine
  T cosine, sign;
  int order;
  bool hilbert;

  BlockFilter(const Filter<T>& filter, int64_t block)
      : table(filter.table + block * filter.columns * kLanes<T>),
        negative(table + (filter.symmetric ? 0 : filter.columns) * kLanes<T>),
        negative_step(filter.symmetric ? -kLanes<T> : kLanes<T>),
        half_width(filter.half_width),
        rise(lane_index<T>(block * kLanes<T>) * filter.sine),
        cosine(filter.cosine),
        sign(filter.quarter_turns & 2 ? T(-1) : T(1)),
        order(filter.order),
        hilbert(filter.hilbert) {}

  GENIMG_INLINE_LAMBDA V at(int64_t k) const {
    const V c = rise + static_cast<T>(k) * cosine;
    V value = load<V>(k < 0 ? negative + k * negative_step : table + k * kLanes<T>) * sign;
    for (int i = 0; i < order; ++i) value *= c;
    if (hilbert) value *= c > T(0) ? V{} + T(1) : (c < T(0) ? V{} - T(1) : V{});
    return value;
  }
};

// a times (-i)^turns but for the sign.
template <bool odd_turns, typename T, typename V>
GENIMG_HD ComplexVector<T> filtered(ComplexVector<T> a, V mask) {
  if (odd_turns) return {a.im * mask, -a.re * mask};
  return {a.re * mask, a.im * mask};
}

// ---- rows: transforms along x, lanes are V frequencies ky ----

template <typename T, typename Store>
GENIMG_HD void forward_block(const FftPlan<T>& plan, const T* tiles, T* work, Store store_at) {
  T* const staged = work + block_size<T>(plan.n);
  for (int64_t x = 0; x < plan.n; x += kLanes<T>) {
    transpose(tiles + x * kStep<T>, kStep<T>, staged + x * kStep<T>, kStep<T>);
    transpose(tiles + x * kStep<T> + kLanes<T>, kStep<T>, staged + x * kStep<T> + kLanes<T>, kStep<T>);
  }
  transform_in_order<T>(
      plan, work, [=](int64_t x) GENIMG_INLINE_LAMBDA { return load_complex(staged + x * kStep<T>); }, store_at);
}

template <bool odd_turns, typename T>
void forward_block_filtered(const RowsForward<T>& rows, int64_t block, const T* tiles, T* spectrum, T* work) {
  const BlockFilter<T> filter(rows.filter, block);
  const int64_t n = rows.plan->n, width = rows.spectrum_width;
  forward_block(*rows.plan, tiles, work, [&](int64_t i, ComplexVector<T> x) GENIMG_INLINE_LAMBDA {
    const int64_t k = signed_index(i, n);
    if ((k < 0 ? -k : k) > filter.half_width) return;
    T* const at = spectrum + (k < 0 ? k + width : k) * kStep<T>;
    store_complex(at, load_complex(at) + filtered<odd_turns>(x, filter.at(k)));
  });
}

template <typename T>
void rows_forward(const RowsForward<T>& rows, T* work, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    const T* const tiles = rows.tiles + block * block_size<T>(rows.plan->n);
    T* const spectrum = rows.spectrum + block * block_size<T>(rows.spectrum_width);
    if (rows.filter.table == nullptr)
      forward_block(*rows.plan, tiles, work, [=](int64_t k, ComplexVector<T> x) GENIMG_INLINE_LAMBDA {
        store_complex(spectrum + k * kStep<T>, x);
      });
    else if (rows.filter.quarter_turns & 1)
      forward_block_filtered<true>(rows, block, tiles, spectrum, work);
    else
      forward_block_filtered<false>(rows, block, tiles, spectrum, work);
  }
}

template <typename T, typename Load>
GENIMG_HD void inverse_block(const FftPlan<T>& plan, T* tiles, T* work, Load load_at) {
  const int64_t n = plan.n, end = ceil_to_lanes<T>(n);
  T* const staged = work + block_size<T>(n);
  transform_out_order<T>(plan, work, load_at, [=](int64_t x, ComplexVector<T> a) GENIMG_INLINE_LAMBDA {
    store_complex(staged + x * kStep<T>, swapped(a));
  });
  for (int64_t x = n; x < end; ++x) store_complex(staged + x * kStep<T>, ComplexVector<T>{});
  for (int64_t x = 0; x < n; x += kLanes<T>) {
    transpose(staged + x * kStep<T>, kStep<T>, tiles + x * kStep<T>, kStep<T>);
    transpose(staged + x * kStep<T> + kLanes<T>, kStep<T>, tiles + x * kStep<T> + kLanes<T>, kStep<T>);
  }
}

template <bool odd_turns, typename T>
void inverse_block_filtered(const RowsInverse<T>& rows, int64_t block, const T* spectrum, T* tiles, T* work) {
  const BlockFilter<T> filter(rows.filter, block);
  const int64_t n = rows.plan->n, width = rows.spectrum_width;
  inverse_block(*rows.plan, tiles, work, [&](int64_t i) GENIMG_INLINE_LAMBDA {
    const int64_t k = signed_index(i, n);
    if ((k < 0 ? -k : k) > filter.half_width) return ComplexVector<T>{};
    return swapped(filtered<odd_turns>(load_complex(spectrum + (k < 0 ? k + width : k) * kStep<T>), filter.at(k)));
  });
}

template <typename T>
void rows_inverse(const RowsInverse<T>& rows, T* work, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    const T* const spectrum = rows.spectrum + block * block_size<T>(rows.spectrum_width);
    T* const tiles = rows.tiles + block * block_size<T>(rows.plan->n);
    if (rows.filter.table == nullptr)
      inverse_block(*rows.plan, tiles, work,
                    [=](int64_t k) GENIMG_INLINE_LAMBDA { return swapped(load_complex(spectrum + k * kStep<T>)); });
    else if (rows.filter.quarter_turns & 1)
      inverse_block_filtered<true>(rows, block, spectrum, tiles, work);
    else
      inverse_block_filtered<false>(rows, block, spectrum, tiles, work);
  }
}

// ---- columns: transforms along y, lanes are V columns; two real blocks A, B of columns make one complex A + i B ----

// Where a tile's row ky is; `tile` is the number of tiles to the left.
template <typename T>
GENIMG_HD int64_t tile_row(int64_t ky, int64_t tile, int64_t block_stride) {
  return ky / kLanes<T> * block_stride + (tile * kLanes<T> + ky % kLanes<T>)*kStep<T>;
}

// One part of V pixels, zero from `count` on.
template <typename T>
GENIMG_HD typename Vector<T>::type load_pixels(const T* image, int parts, int part, int64_t count) {
  using V = typename Vector<T>::type;
  if (count >= kLanes<T>) {
    if (parts == 1) return load<V>(image);
    const V a = load<V>(image), b = load<V>(image + kLanes<T>);
    return part == 0 ? even_lanes(a, b) : odd_lanes(a, b);
  }
  V v = {};
  for (int64_t i = 0; i < count; ++i) v[i] = image[i * parts + part];
  return v;
}

template <typename T>
GENIMG_HD void store_numbers(T* to, typename Vector<T>::type v, int64_t count) {
  if (count >= kLanes<T>) return store(to, v);
  for (int64_t i = 0; i < count; ++i) to[i] = v[i];
}

template <typename T>
void columns_forward(const ColumnsForward<T>& columns, T* work, int64_t begin, int64_t end) {
  const FftPlan<T>& plan = *columns.plan;
  const int64_t n = plan.n, stride = block_size<T>(columns.width);
  T* const staged = work + block_size<T>(n);
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t x = pair * 2 * kLanes<T>, left = columns.width - x;
    const bool has_second = left > kLanes<T>;
    const T* const image = columns.image + x * columns.parts;
    const int parts = columns.parts;
    transform_in_order<T>(
        plan, work,
        [=](int64_t y) GENIMG_INLINE_LAMBDA {
          const T* const row = image + y * columns.width * parts;
          const auto first = load_pixels(row, parts, columns.part, left);
          return ComplexVector<T>{
              first, has_second ? load_pixels(row + kLanes<T> * parts, parts, columns.part, left - kLanes<T>)
                                : typename Vector<T>::type{}};
        },
        [=](int64_t k, ComplexVector<T> z) GENIMG_INLINE_LAMBDA { store_complex(staged + k * kStep<T>, z); });
    const auto put = [&](int64_t ky, ComplexVector<T> a, ComplexVector<T> b) GENIMG_INLINE_LAMBDA {
      store_complex(columns.tiles + tile_row<T>(ky, 2 * pair, stride), a);
      if (has_second) store_complex(columns.tiles + tile_row<T>(ky, 2 * pair + 1, stride), b);
    };
    const ComplexVector<T> zero = load_complex(staged);
    ComplexVector<T> half = {};
    if (columns.half_rate_row) half = load_complex(staged + n / 2 * kStep<T>);
    put(0, {zero.re * T(2), half.re * T(2)}, {zero.im * T(2), half.im * T(2)});
    for (int64_t ky = 1; ky < columns.rows; ++ky) {
      const ComplexVector<T> z = load_complex(staged + ky * kStep<T>), m = load_complex(staged + (n - ky) * kStep<T>);
      put(ky, {z.re + m.re, z.im - m.im}, {z.im + m.im, m.re - z.re});
    }
    for (int64_t ky = columns.rows; ky % kLanes<T> != 0; ++ky) put(ky, ComplexVector<T>{}, ComplexVector<T>{});
  }
}

template <typename T>
void columns_inverse(const ColumnsInverse<T>& columns, T* work, int64_t begin, int64_t end) {
  using V = typename Vector<T>::type;
  const FftPlan<T>& plan = *columns.plan;
  const int64_t n = plan.n, stride = block_size<T>(columns.width);
  const bool interleaved = columns.hilbert_tiles != nullptr;
  const int parts = interleaved ? 2 : 1;
  T* const staged = work + block_size<T>(n);
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t tile = interleaved ? pair : 2 * pair, x = tile * kLanes<T>, left = columns.width - x;
    const bool has_second = interleaved || left > kLanes<T>;
    const T* const second = interleaved ? columns.hilbert_tiles : columns.tiles + kLanes<T> * kStep<T>;
    const auto put = [&](int64_t k, ComplexVector<T> z)
                         GENIMG_INLINE_LAMBDA { store_complex(staged + k * kStep<T>, swapped(z)); };
    const auto get = [&](int64_t ky, ComplexVector<T>& a, ComplexVector<T>& b) GENIMG_INLINE_LAMBDA {
      const int64_t at = tile_row<T>(ky, tile, stride);
      a = load_complex(columns.tiles + at);
      b = has_second ? load_complex(second + at) : ComplexVector<T>{};
    };
    ComplexVector<T> a, b;
    get(0, a, b);
    put(0, {a.re, b.re});
    if (n % 2 == 0) put(n / 2, columns.half_rate_row ? ComplexVector<T>{a.im, b.im} : ComplexVector<T>{});
    for (int64_t ky = 1; ky < columns.rows; ++ky) {
      get(ky, a, b);
      put(ky, {a.re - b.im, a.im + b.re});
      put(n - ky, {a.re + b.im, b.re - a.im});
    }
    for (int64_t ky = columns.rows; 2 * ky < n; ++ky) {
      put(ky, ComplexVector<T>{});
      put(n - ky, ComplexVector<T>{});
    }
    T* const image = columns.image + x * parts;
    transform_in_order<T>(
        plan, work, [=](int64_t k) GENIMG_INLINE_LAMBDA { return load_complex(staged + k * kStep<T>); },
        [=](int64_t y, ComplexVector<T> z) GENIMG_INLINE_LAMBDA {
          T* const row = image + y * columns.width * parts;
          V low = z.im, high = z.re;
          if (interleaved) {
            low = alternate_low(z.im, z.re);
            high = alternate_high(z.im, z.re);
          }
          store_numbers(row, low, left * parts);
          if (left * parts > kLanes<T>) store_numbers(row + kLanes<T>, high, left * parts - kLanes<T>);
        });
  }
}

template <typename T>
constexpr FreqKernels<T> kKernels = {kLanes<T>,       radial_table<T>, columns_forward<T>,
                                     rows_forward<T>, rows_inverse<T>, columns_inverse<T>};

}  // namespace

const FreqKernels<float>& freq_kernels(float) { return kKernels<float>; }
const FreqKernels<double>& freq_kernels(double) { return kKernels<double>; }

}  // namespace GENIMG_ISA
}  // namespace genimg::steerable
