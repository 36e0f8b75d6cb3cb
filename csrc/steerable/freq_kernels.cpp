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

// The squares of V x V numbers that an array of V-lane vectors consists of change places with the columns of tiles.
template <typename T>
GENIMG_HD void transpose_complex(const T* from, T* to) {
  transpose(from, kStep<T>, to, kStep<T>);
  transpose(from + kLanes<T>, kStep<T>, to + kLanes<T>, kStep<T>);
}

// Runs of butterflies whose elements are whole tiles: V of them where the parts are multiples of V, else all.
// move(tile's column, position in `staged`) is called for each tile of the run.
template <typename T, typename Pass>
struct Runs {
  int64_t length, part, tiles;

  explicit Runs(const Pass& pass)
      : length(pass.part % kLanes<T> == 0 ? kLanes<T> : pass.part),
        part(pass.part),
        tiles((length * Pass::radix + kLanes<T> - 1) / kLanes<T>) {}

  // Of the i-th tile of the run that begins with butterfly j.
  int64_t column(int64_t j, int64_t i) const { return length == part ? i * kLanes<T> : j + i * part; }
};

template <typename T, typename Store>
GENIMG_HD void forward_block(const FftPlan<T>& plan, const T* tiles, T* work, Store store_at) {
  T* const staged = work + block_size<T>(plan.n);
  with_whole_pass(plan, work, [&](auto pass) GENIMG_INLINE_LAMBDA {
    constexpr int R = decltype(pass)::radix;
    const Runs<T, decltype(pass)> runs(pass);
    for (int64_t first = 0; first < pass.part; first += runs.length) {
      for (int64_t i = 0; i < runs.tiles; ++i)
        transpose_complex(tiles + runs.column(first, i) * kStep<T>, staged + i * kLanes<T> * kStep<T>);
      for (int64_t j = 0; j < runs.length; ++j) {
        ComplexVector<T> x[R];
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q) x[q] = load_complex(staged + (j + q * runs.length) * kStep<T>);
        pass.scatter(first + j, x);
      }
    }
  });
  finish_parts<T>(plan, work, store_at);
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
  T* const staged = work + block_size<T>(plan.n);
  prepare_parts<T>(plan, work, load_at);
  with_whole_pass(plan, work, [&](auto pass) GENIMG_INLINE_LAMBDA {
    constexpr int R = decltype(pass)::radix;
    const Runs<T, decltype(pass)> runs(pass);
    for (int64_t i = runs.length * R; i < runs.tiles * kLanes<T>; ++i)
      store_complex(staged + i * kStep<T>, ComplexVector<T>{});
    for (int64_t first = 0; first < pass.part; first += runs.length) {
      for (int64_t j = 0; j < runs.length; ++j) {
        ComplexVector<T> x[R];
        pass.gather(first + j, x);
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q) store_complex(staged + (j + q * runs.length) * kStep<T>, swapped(x[q]));
      }
      for (int64_t i = 0; i < runs.tiles; ++i)
        transpose_complex(staged + i * kLanes<T> * kStep<T>, tiles + runs.column(first, i) * kStep<T>);
    }
  });
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

// Row ky of tiles that begin with a certain column of tiles.
template <typename T>
GENIMG_HD int64_t tile_row(int64_t ky, int64_t block_stride) {
  const uint64_t row = static_cast<uint64_t>(ky);
  return static_cast<int64_t>(row / kLanes<T>) * block_stride + static_cast<int64_t>(row % kLanes<T>) * kStep<T>;
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

// The half spectra of A and B from z[k] and z[h-k], to their tiles; `has_second`: is there a B?
template <typename T>
struct PairSplitter {
  T* tiles;
  int64_t stride, rows;
  bool has_second;

  GENIMG_INLINE_LAMBDA void put(int64_t ky, ComplexVector<T> a, ComplexVector<T> b) const {
    T* const at = tiles + tile_row<T>(ky, stride);
    store_complex(at, a);
    if (has_second) store_complex(at + kLanes<T> * kStep<T>, b);
  }
  GENIMG_INLINE_LAMBDA void split(int64_t ky, ComplexVector<T> z, ComplexVector<T> mirror) const {
    if (ky >= rows) return;
    put(ky, {z.re + mirror.re, z.im - mirror.im}, {z.im + mirror.im, mirror.re - z.re});
  }
};

// The butterflies of the whole pass two by two, j and part - j: their elements are each other's mirror images.
template <typename T, typename Pass>
GENIMG_HD void split_pairs(const Pass& pass, int64_t n, bool half_rate_row, const PairSplitter<T>& to) {
  constexpr int R = Pass::radix;
  ComplexVector<T> x[R], y[R], half = {};
  const auto split_all = [&](int64_t j, const ComplexVector<T>* mirror, int shift) GENIMG_INLINE_LAMBDA {
#pragma GCC unroll 8
    for (int q = 0; q < R; ++q) {
      const int64_t k = j + q * pass.part;
      const int m = (2 * R - shift - q) % R;
      if (2 * k < n && k > 0) to.split(k, x[q], mirror[m]);
      if (2 * k > n && mirror != x) to.split(n - k, mirror[m], x[q]);
      if (2 * k == n && half_rate_row) half = x[q];
    }
  };
  for (int64_t j = 1; 2 * j < pass.part; ++j) {
    pass.gather(j, x);
    pass.gather(pass.part - j, y);
    split_all(j, y, 1);
  }
  if (pass.part % 2 == 0) {
    pass.gather(pass.part / 2, x);
    split_all(pass.part / 2, x, 1);
  }
  pass.gather(0, x);
  split_all(0, x, 0);
  to.put(0, {x[0].re * T(2), half.re * T(2)}, {x[0].im * T(2), half.im * T(2)});
  for (int64_t ky = to.rows; ky % kLanes<T> != 0; ++ky) to.put(ky, ComplexVector<T>{}, ComplexVector<T>{});
}

template <typename T>
void columns_forward(const ColumnsForward<T>& columns, T* work, int64_t begin, int64_t end) {
  const FftPlan<T>& plan = *columns.plan;
  const int parts = columns.parts, part = columns.part;
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t x = pair * 2 * kLanes<T>, left = columns.width - x;
    const bool has_second = left > kLanes<T>;
    const T* const image = columns.image + x * parts;
    prepare_parts<T>(plan, work, [=](int64_t y) GENIMG_INLINE_LAMBDA {
      const T* const row = image + y * columns.width * parts;
      const auto first = load_pixels(row, parts, part, left);
      if (!has_second) return ComplexVector<T>{first, {}};
      return ComplexVector<T>{first, load_pixels(row + kLanes<T> * parts, parts, part, left - kLanes<T>)};
    });
    const PairSplitter<T> to{columns.tiles + x * kStep<T>, block_size<T>(columns.width), columns.rows, has_second};
    with_whole_pass(plan, work,
                    [&](auto pass) GENIMG_INLINE_LAMBDA { split_pairs(pass, plan.n, columns.half_rate_row, to); });
  }
}

// z = A + i B from the half spectra of A and B.
template <typename T>
struct PairJoiner {
  const T* first;
  const T* second;  // null: B is 0
  int64_t stride, rows, n;
  bool half_rate_row;

  GENIMG_INLINE_LAMBDA ComplexVector<T> at(int64_t k) const {
    const bool mirrored = 2 * k > n;
    const int64_t ky = mirrored ? n - k : k;
    if (2 * ky == n) {
      if (!half_rate_row) return ComplexVector<T>{};
      const int64_t zero = tile_row<T>(0, stride);
      return {load_complex(first + zero).im,
              second == nullptr ? typename Vector<T>::type{} : load_complex(second + zero).im};
    }
    if (ky >= rows) return ComplexVector<T>{};
    const int64_t place = tile_row<T>(ky, stride);
    const ComplexVector<T> a = load_complex(first + place);
    const ComplexVector<T> b = second == nullptr ? ComplexVector<T>{} : load_complex(second + place);
    if (ky == 0) return {a.re, b.re};
    if (mirrored) return {a.re + b.im, b.re - a.im};
    return {a.re - b.im, a.im + b.re};
  }
};

template <typename T>
void columns_inverse(const ColumnsInverse<T>& columns, T* work, int64_t begin, int64_t end) {
  using V = typename Vector<T>::type;
  const FftPlan<T>& plan = *columns.plan;
  const bool interleaved = columns.hilbert_tiles != nullptr;
  const int parts = interleaved ? 2 : 1;
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t x = pair * (interleaved ? 1 : 2) * kLanes<T>, left = columns.width - x;
    const T* const first = columns.tiles + x * kStep<T>;
    const T* second = left > kLanes<T> ? first + kLanes<T> * kStep<T> : nullptr;
    if (interleaved) second = columns.hilbert_tiles + x * kStep<T>;
    const PairJoiner<T> from{first, second, block_size<T>(columns.width), columns.rows, plan.n, columns.half_rate_row};
    with_whole_pass(plan, work, [&](auto pass) GENIMG_INLINE_LAMBDA {
      constexpr int R = decltype(pass)::radix;
      // Butterflies j and part - j have the same rows: the second finds them in cache.
      for (int64_t i = 0; i < pass.part; ++i) {
        const int64_t j = i % 2 == 0 ? i / 2 : pass.part - (i + 1) / 2;
        ComplexVector<T> x[R];
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q) x[q] = swapped(from.at(j + q * pass.part));
        pass.scatter(j, x);
      }
    });
    T* const image = columns.image + x * parts;
    finish_parts<T>(plan, work, [=](int64_t y, ComplexVector<T> z) GENIMG_INLINE_LAMBDA {
      T* const row = image + y * columns.width * parts;
      const V low = interleaved ? alternate_low(z.im, z.re) : z.im;
      const V high = interleaved ? alternate_high(z.im, z.re) : z.re;
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
