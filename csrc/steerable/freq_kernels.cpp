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
    case Kind::reconstruction: {
      const V product = low_product(log_radius, table.level, table.overlap, table.inverse_width);
      return product * product;
    }
    case Kind::band:
      break;
  }
  return band_radial(log_radius, table.level, table.overlap, table.inverse_width);
}

template <typename T>
void radial_table(const RadialTable<T>& table, int64_t begin, int64_t end) {
  using V = typename Vector<T>::type;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t columns = table.half_width + 1;
    T* const values = table.values + block * (columns + 1) * kLanes<T>;
    const V y = lane_index<T>(block * kLanes<T>) * table.y_step;
    for (int64_t k = 0; k < columns; ++k) {
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
    store(values + columns * kLanes<T>, V{});
  }
}

// The filter along one block of rows.
template <typename T>
struct BlockFilter {
  using V = typename Vector<T>::type;
  const FilterColumn<T>* columns;
  const T* table;
  V rise, cosine;  // y sine; of one step of kx
  T sign;
  int order;
  bool hilbert;

  BlockFilter(const Filter<T>& filter, int64_t block)
      : columns(filter.columns),
        table(filter.table + block * filter.table_width * kLanes<T>),
        rise(lane_index<T>(block * kLanes<T>) * filter.sine),
        cosine(V{} + filter.cosine),
        sign(filter.quarter_turns & 2 ? T(-1) : T(1)),
        order(filter.order),
        hilbert(filter.hilbert) {}

  GENIMG_INLINE_LAMBDA V at(const FilterColumn<T>& column) const {
    const V c = rise + cosine * column.kx;
    V value = load<V>(table + column.table * int64_t(kLanes<T>)) * sign;
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

// Runs of butterflies of the whole pass whose elements are whole tiles: V of them where the parts are multiples of V,
// else all.
template <typename T, typename Pass>
struct Runs {
  int64_t length, part, tiles;

  explicit Runs(const Pass& pass)
      : length(pass.part % kLanes<T> == 0 ? kLanes<T> : pass.part),
        part(pass.part),
        tiles((length * Pass::radix + kLanes<T> - 1) / kLanes<T>) {}

  // Which block of columns the i-th tile is, of the run that begins with butterfly j.
  int64_t block_of(int64_t j, int64_t i) const { return length == part ? i : (j + i * part) / kLanes<T>; }
};

template <typename T, typename Store>
GENIMG_HD void forward_block(const RowsForward<T>& rows, int64_t block, T* work, Store store_at) {
  const FftPlan<T>& plan = *rows.plan;
  const Tiles<T>& tiles = rows.tiles;
  const T* const first_row = tiles.data + block * kLanes<T> * tiles.row;
  T* const staged = work + block_size<T>(plan.n);
  with_whole_pass(plan, work, [&](auto pass) GENIMG_INLINE_LAMBDA {
    constexpr int R = decltype(pass)::radix;
    const Runs<T, decltype(pass)> runs(pass);
    for (int64_t first = 0; first < pass.part; first += runs.length) {
      for (int64_t i = 0; i < runs.tiles; ++i) {
        const T* const tile = first_row + runs.block_of(first, i) * tiles.block;
        T* const to = staged + i * kLanes<T> * kStep<T>;
        transpose(tile, tiles.row, to, kStep<T>);
        transpose(tile + tiles.imaginary, tiles.row, to + kLanes<T>, kStep<T>);
      }
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
void forward_block_filtered(const RowsForward<T>& rows, int64_t block, T* spectrum, T* work) {
  const BlockFilter<T> filter(rows.filter, block);
  forward_block(rows, block, work, [&](int64_t i, ComplexVector<T> x) GENIMG_INLINE_LAMBDA {
    const FilterColumn<T>& column = filter.columns[i];
    T* const at = spectrum + column.spectrum * int64_t(kStep<T>);
    store_complex(at, load_complex(at) + filtered<odd_turns>(x, filter.at(column)));
  });
}

template <typename T>
void rows_forward(const RowsForward<T>& rows, T* work, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    T* const spectrum = rows.spectrum + block * block_size<T>(rows.spectrum_width);
    if (rows.filter.table == nullptr)
      forward_block(rows, block, work, [=](int64_t k, ComplexVector<T> x) GENIMG_INLINE_LAMBDA {
        store_complex(spectrum + k * kStep<T>, x);
      });
    else if (rows.filter.quarter_turns & 1)
      forward_block_filtered<true>(rows, block, spectrum, work);
    else
      forward_block_filtered<false>(rows, block, spectrum, work);
  }
}

template <typename T, typename Load>
GENIMG_HD void inverse_block(const RowsInverse<T>& rows, int64_t block, T* work, Load load_at) {
  const FftPlan<T>& plan = *rows.plan;
  const Tiles<T>& tiles = rows.tiles;
  T* const first_row = tiles.data + block * kLanes<T> * tiles.row;
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
      for (int64_t i = 0; i < runs.tiles; ++i) {
        const T* const from = staged + i * kLanes<T> * kStep<T>;
        T* const tile = first_row + runs.block_of(first, i) * tiles.block;
        transpose(from, kStep<T>, tile, tiles.row);
        if (block > 0 || tiles.has_half_rate_row)
          transpose(from + kLanes<T>, kStep<T>, tile + tiles.imaginary, tiles.row);
        else
          transpose<T, 1>(from + kLanes<T>, kStep<T>, tile + tiles.imaginary, tiles.row);
      }
    }
  });
}

template <bool odd_turns, typename T>
void inverse_block_filtered(const RowsInverse<T>& rows, int64_t block, const T* spectrum, T* work) {
  const BlockFilter<T> filter(rows.filter, block);
  inverse_block(rows, block, work, [&](int64_t i) GENIMG_INLINE_LAMBDA {
    const FilterColumn<T>& column = filter.columns[i];
    return swapped(
        filtered<odd_turns>(load_complex(spectrum + column.spectrum * int64_t(kStep<T>)), filter.at(column)));
  });
}

template <typename T>
void rows_inverse(const RowsInverse<T>& rows, T* work, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    const T* const spectrum = rows.spectrum + block * block_size<T>(rows.spectrum_width);
    if (rows.filter.table == nullptr)
      inverse_block(rows, block, work,
                    [=](int64_t k) GENIMG_INLINE_LAMBDA { return swapped(load_complex(spectrum + k * kStep<T>)); });
    else if (rows.filter.quarter_turns & 1)
      inverse_block_filtered<true>(rows, block, spectrum, work);
    else
      inverse_block_filtered<false>(rows, block, spectrum, work);
  }
}

// ---- columns: transforms along y, lanes are V columns; two real blocks A, B of columns make one complex A + i B ----

// One part of V pixels, zero from `count` on.
template <typename T>
GENIMG_HD typename Vector<T>::type load_some(const T* image, int parts, int part, int64_t count) {
  typename Vector<T>::type v = {};
  for (int64_t i = 0; i < count && i < kLanes<T>; ++i) v[i] = image[i * parts + part];
  return v;
}

template <typename T>
GENIMG_HD void store_some(T* to, typename Vector<T>::type v, int64_t count) {
  for (int64_t i = 0; i < count && i < kLanes<T>; ++i) to[i] = v[i];
}

// The half spectra of A and B from z[k] and z[h-k].
template <typename T, bool has_second>
struct PairSplitter {
  const Tiles<T>& tiles;
  T* first_row;
  int64_t rows;

  GENIMG_INLINE_LAMBDA void put(int64_t ky, ComplexVector<T> a, ComplexVector<T> b) const {
    T* const at = first_row + ky * tiles.row;
    store(at, a.re);
    store(at + tiles.imaginary, a.im);
    if (!has_second) return;
    store(at + tiles.block, b.re);
    store(at + tiles.block + tiles.imaginary, b.im);
  }
  GENIMG_INLINE_LAMBDA void split(int64_t ky, ComplexVector<T> z, ComplexVector<T> mirror) const {
    if (ky < rows) put(ky, {z.re + mirror.re, z.im - mirror.im}, {z.im + mirror.im, mirror.re - z.re});
  }
};

// The butterflies of the whole pass two by two, j and part - j: their elements are each other's mirror images.
template <typename T, typename Pass, typename Splitter>
GENIMG_HD void split_pairs(const Pass& pass, int64_t n, const Splitter& to) {
  constexpr int R = Pass::radix;
  ComplexVector<T> x[R], y[R], half = {};
  for (int64_t j = 1; 2 * j < pass.part; ++j) {
    pass.gather(j, x);
    pass.gather(pass.part - j, y);
#pragma GCC unroll 8
    for (int q = 0; q < R; ++q) {
      const int64_t k = j + q * pass.part;
      if (R % 2 == 0 ? 2 * q < R : 2 * k < n)
        to.split(k, x[q], y[R - 1 - q]);
      else
        to.split(n - k, y[R - 1 - q], x[q]);
    }
  }
  // The butterflies that are their own mirror images.
  if (pass.part % 2 == 0) {
    pass.gather(pass.part / 2, x);
#pragma GCC unroll 8
    for (int q = 0; 2 * q < R - 1; ++q) to.split(pass.part / 2 + q * pass.part, x[q], x[R - 1 - q]);
    if (R % 2 == 1) half = x[R / 2];
  }
  pass.gather(0, x);
#pragma GCC unroll 8
  for (int q = 1; 2 * q < R; ++q) to.split(q * pass.part, x[q], x[R - q]);
  if (R % 2 == 0) half = x[R / 2];
  if (!to.tiles.has_half_rate_row) half = ComplexVector<T>{};
  to.put(0, {x[0].re * T(2), half.re * T(2)}, {x[0].im * T(2), half.im * T(2)});
  for (int64_t ky = to.rows; ky % kLanes<T> != 0; ++ky) to.put(ky, ComplexVector<T>{}, ComplexVector<T>{});
}

template <bool has_second, typename T, typename Load>
GENIMG_HD void forward_pair(const ColumnsForward<T>& columns, int64_t pair, T* work, Load load_row) {
  prepare_parts<T>(*columns.plan, work, load_row);
  const PairSplitter<T, has_second> to{columns.tiles, columns.tiles.data + 2 * pair * columns.tiles.block,
                                       columns.rows};
  with_whole_pass(*columns.plan, work,
                  [&](auto pass) GENIMG_INLINE_LAMBDA { split_pairs<T>(pass, columns.plan->n, to); });
}

template <typename T>
void columns_forward(const ColumnsForward<T>& columns, T* work, int64_t begin, int64_t end) {
  using V = typename Vector<T>::type;
  const int parts = columns.parts, part = columns.part;
  const int64_t row_size = columns.width * parts;
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t x = pair * 2 * kLanes<T>, left = columns.width - x;
    const T* const image = columns.image + x * parts;
    if (left >= 2 * kLanes<T> && parts == 1) {
      forward_pair<true>(columns, pair, work,
                         [=](int64_t y) GENIMG_INLINE_LAMBDA { return load_complex(image + y * row_size); });
    } else if (left >= 2 * kLanes<T>) {
      forward_pair<true>(columns, pair, work, [=](int64_t y) GENIMG_INLINE_LAMBDA {
        const T* const row = image + y * row_size;
        const ComplexVector<T> a = load_complex(row), b = load_complex(row + kStep<T>);
        if (part == 0) return ComplexVector<T>{even_lanes(a.re, a.im), even_lanes(b.re, b.im)};
        return ComplexVector<T>{odd_lanes(a.re, a.im), odd_lanes(b.re, b.im)};
      });
    } else if (left > kLanes<T>) {
      forward_pair<true>(columns, pair, work, [=](int64_t y) GENIMG_INLINE_LAMBDA {
        const T* const row = image + y * row_size;
        return ComplexVector<T>{load_some(row, parts, part, kLanes<T>),
                                load_some(row + kLanes<T> * parts, parts, part, left - kLanes<T>)};
      });
    } else {
      forward_pair<false>(columns, pair, work, [=](int64_t y) GENIMG_INLINE_LAMBDA {
        return ComplexVector<T>{load_some(image + y * row_size, parts, part, left), V{}};
      });
    }
  }
}

// z[k] = A[k] + i B[k] for k = 0 .. h-1 from the half spectra of A and B.
template <typename T, bool has_second>
struct PairJoiner {
  const Tiles<T>& tiles;
  const T* first;
  const T* second;
  int64_t rows, n;

  GENIMG_INLINE_LAMBDA ComplexVector<T> row(const T* base, int64_t ky) const {
    const T* const at = base + ky * tiles.row;
    return {load<typename Vector<T>::type>(at), load<typename Vector<T>::type>(at + tiles.imaginary)};
  }
  GENIMG_INLINE_LAMBDA ComplexVector<T> joined(int64_t ky, bool mirrored) const {
    const ComplexVector<T> a = row(first, ky);
    if (!has_second) return {a.re, mirrored ? -a.im : a.im};
    const ComplexVector<T> b = row(second, ky);
    if (mirrored) return {a.re + b.im, b.re - a.im};
    return {a.re - b.im, a.im + b.re};
  }
  // For every k.
  GENIMG_INLINE_LAMBDA ComplexVector<T> at(int64_t k) const {
    if (2 * k == n && !tiles.has_half_rate_row) return ComplexVector<T>{};
    const bool half = 2 * k == n;
    if (k == 0 || half) {
      const T* const from = half ? first + tiles.imaginary : first;
      const T* const from_second = half ? second + tiles.imaginary : second;
      ComplexVector<T> z = {load<typename Vector<T>::type>(from), {}};
      if (has_second) z.im = load<typename Vector<T>::type>(from_second);
      return z;
    }
    const bool mirrored = 2 * k > n;
    const int64_t ky = mirrored ? n - k : k;
    return ky < rows ? joined(ky, mirrored) : ComplexVector<T>{};
  }
};

template <bool has_second, typename T, typename Store>
GENIMG_HD void inverse_pair(const ColumnsInverse<T>& columns, const T* first, const T* second, T* work,
                            Store store_row) {
  const FftPlan<T>& plan = *columns.plan;
  const PairJoiner<T, has_second> from{columns.tiles, first, second, columns.rows, plan.n};
  const bool complete = columns.rows == (plan.n + 1) / 2;
  with_whole_pass(plan, work, [&](auto pass) GENIMG_INLINE_LAMBDA {
    constexpr int R = decltype(pass)::radix;
    // Butterflies j and part - j have the same rows: the second finds them in cache.
    for (int64_t i = 0; i < pass.part; ++i) {
      const int64_t j = i % 2 == 0 ? i / 2 : pass.part - (i + 1) / 2;
      ComplexVector<T> x[R];
      if (R % 2 == 0 && j > 0 && complete) {
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q)
          x[q] = 2 * q < R ? from.joined(j + q * pass.part, false) : from.joined(plan.n - j - q * pass.part, true);
      } else {
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q) x[q] = from.at(j + q * pass.part);
      }
#pragma GCC unroll 8
      for (int q = 0; q < R; ++q) x[q] = swapped(x[q]);
      pass.scatter(j, x);
    }
  });
  finish_parts<T>(plan, work, [=](int64_t y, ComplexVector<T> z) GENIMG_INLINE_LAMBDA { store_row(y, z.im, z.re); });
}

template <typename T>
void columns_inverse(const ColumnsInverse<T>& columns, T* work, int64_t begin, int64_t end) {
  using V = typename Vector<T>::type;
  const bool interleaved = columns.hilbert_tiles != nullptr;
  const int parts = interleaved ? 2 : 1;
  const int64_t row_size = columns.width * parts;
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t block = interleaved ? pair : 2 * pair, left = (columns.width - block * kLanes<T>)*parts;
    T* const image = columns.image + block * kLanes<T> * parts;
    const T* const first = columns.tiles.data + block * columns.tiles.block;
    const T* const second =
        interleaved ? columns.hilbert_tiles + block * columns.tiles.block : first + columns.tiles.block;
    if (interleaved && left >= 2 * kLanes<T>) {
      inverse_pair<true>(columns, first, second, work, [=](int64_t y, V a, V b) GENIMG_INLINE_LAMBDA {
        store_complex(image + y * row_size, ComplexVector<T>{alternate_low(a, b), alternate_high(a, b)});
      });
    } else if (interleaved) {
      inverse_pair<true>(columns, first, second, work, [=](int64_t y, V a, V b) GENIMG_INLINE_LAMBDA {
        store_some(image + y * row_size, alternate_low(a, b), left);
        store_some(image + y * row_size + kLanes<T>, alternate_high(a, b), left - kLanes<T>);
      });
    } else if (left >= 2 * kLanes<T>) {
      inverse_pair<true>(columns, first, second, work, [=](int64_t y, V a, V b) GENIMG_INLINE_LAMBDA {
        store_complex(image + y * row_size, ComplexVector<T>{a, b});
      });
    } else if (left > kLanes<T>) {
      inverse_pair<true>(columns, first, second, work, [=](int64_t y, V a, V b) GENIMG_INLINE_LAMBDA {
        store(image + y * row_size, a);
        store_some(image + y * row_size + kLanes<T>, b, left - kLanes<T>);
      });
    } else {
      inverse_pair<false>(columns, first, second, work,
                          [=](int64_t y, V a, V) GENIMG_INLINE_LAMBDA { store_some(image + y * row_size, a, left); });
    }
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
