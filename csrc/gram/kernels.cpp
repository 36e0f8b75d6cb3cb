#include "gram/kernels.h"

#include "common/simd.h"
#include "common/transpose.h"
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace genimg::gram::GENIMG_ISA {
namespace {

// ---- packing

template <typename T>
GENIMG_HD T number(T x) {
  return x;
}
GENIMG_HD float number(Half x) { return half_to_float(x.bits); }
GENIMG_HD float number(BFloat x) { return bfloat_to_float(x.bits); }

// panel[s * kPanel + l] = rows[l * stride + s] for kPanel rows.
template <typename T>
void transpose_rows(const T* rows, int64_t stride, int64_t steps, T* panel) {
  constexpr int n = Vector<T>::lanes;
  const int64_t whole = steps / n * n;
  for (int64_t s = 0; s < whole; s += n)
    for (int l = 0; l < kPanel; l += n) transpose(rows + l * stride + s, stride, panel + s * kPanel + l, kPanel);
  for (int64_t s = whole; s < steps; ++s)
    for (int l = 0; l < kPanel; ++l) panel[s * kPanel + l] = rows[l * stride + s];
}

// A copy of a strip as kPanel rows of kSteps numbers, a part at a time.
template <typename T, typename S>
void pack_by_rows(const Strip<S>& strip, T* panel) {
  constexpr int kSteps = 128;
  T rows[kPanel][kSteps];
  for (int64_t first = 0; first < strip.steps; first += kSteps) {
    const int64_t steps = strip.steps - first < kSteps ? strip.steps - first : kSteps;
    for (int l = 0; l < kPanel; ++l) {
      const S* const from = strip.data + l * strip.lane_stride + first * strip.step_stride;
      if (l >= strip.lanes)
        for (int64_t s = 0; s < steps; ++s) rows[l][s] = T(0);
      else if (strip.step_stride == 1)
        for (int64_t s = 0; s < steps; ++s) rows[l][s] = number(from[s]);
      else
        for (int64_t s = 0; s < steps; ++s) rows[l][s] = number(from[s * strip.step_stride]);
    }
    transpose_rows(rows[0], kSteps, steps, panel + first * kPanel);
  }
}

template <typename T, typename S>
void pack_plain(const Strip<S>& strip, T* panel) {
  if (strip.lanes == kPanel && strip.lane_stride == 1) {
    for (int64_t s = 0; s < strip.steps; ++s)
      for (int l = 0; l < kPanel; ++l) panel[s * kPanel + l] = number(strip.data[s * strip.step_stride + l]);
    return;
  }
  if constexpr (sizeof(S) == sizeof(T))
    if (strip.lanes == kPanel && strip.step_stride == 1)
      return transpose_rows(strip.data, strip.lane_stride, strip.steps, panel);
  pack_by_rows(strip, panel);
}

template <typename S, typename T>
void pack(const Strip<S>& strip, const Weighting<T>& weighting, T* panel) {
  pack_plain(strip, panel);
  const auto [lane_offsets, step_offsets, lane_factors, step_factors] = weighting;
  if (lane_offsets == nullptr && step_offsets == nullptr && lane_factors == nullptr && step_factors == nullptr) return;
  T offsets[kPanel] = {}, factors[kPanel];
  for (int l = 0; l < kPanel; ++l) {
    if (lane_offsets != nullptr) offsets[l] = lane_offsets[l];
    factors[l] = lane_factors == nullptr ? T(1) : lane_factors[l];
  }
  for (int64_t s = 0; s < strip.steps; ++s) {
    const T offset = step_offsets == nullptr ? T(0) : step_offsets[s];
    const T factor = step_factors == nullptr ? T(1) : step_factors[s];
    T* const at = panel + s * kPanel;
    for (int l = 0; l < kPanel; ++l) at[l] = (at[l] - offsets[l] - offset) * factors[l] * factor;
    for (int64_t l = strip.lanes; l < kPanel; ++l) at[l] = T(0);
  }
}

// ---- products

constexpr int kVectors = 2;                               // of lanes
constexpr int kRows = GENIMG_VECTOR_BYTES == 64 ? 8 : 4;  // with kVectors each, about half of the registers
static_assert(kPanel % kRows == 0);

// What is multiplied: numbers, in vectors of V that add up in Sum.
template <typename T>
struct Numbers {
  using Element = T;
  using Sum = T;
  using V = typename Vector<T>::type;
  GENIMG_HD V add(V sum, V a, T b) { return sum + a * b; }
};

// sums[r][v] += the sum over the steps of rows[s][r] and the v-th vector of lanes. `columns` is a part of a panel, the
// next vector is `vector_stride` further.
template <typename Factor, int vectors>
GENIMG_HD void add_steps_of_tile(const typename Factor::Element* rows, int64_t row_step,
                                 const typename Factor::Element* columns, int64_t vector_stride, int64_t steps,
                                 typename Vector<typename Factor::Sum>::type (&sums)[kRows][vectors]) {
  for (int64_t s = 0; s < steps; ++s, rows += row_step, columns += kPanel) {
    typename Factor::V a[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) a[v] = load<typename Factor::V>(columns + v * vector_stride);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sums[r][v] = Factor::add(sums[r][v], a[v], rows[r]);
  }
}

// Of two vectors of lanes that follow each other: in one panel, or in two.
template <typename T>
constexpr int64_t vector_stride(int64_t panel_stride) {
  return Vector<T>::lanes < kPanel ? Vector<T>::lanes : panel_stride;
}

GENIMG_HD void add_as_double(double* to, f64v value) { store(to, load<f64v>(to) + value); }
GENIMG_HD void add_as_double(double* to, f32v value) {
  constexpr int n = Vector<double>::lanes;
  typedef float half_vector __attribute__((vector_size(GENIMG_VECTOR_BYTES / 2)));
  half_vector halves[2];
  __builtin_memcpy(halves, &value, sizeof value);
  add_as_double(to, __builtin_convertvector(halves[0], f64v));
  add_as_double(to + n, __builtin_convertvector(halves[1], f64v));
}

template <typename Factor, int vectors>
void add_tile(const typename Factor::Element* rows, const typename Factor::Element* columns, int64_t panel_stride,
              int64_t steps, double* sums, int64_t stride) {
  using T = typename Factor::Sum;
  constexpr int n = Vector<T>::lanes;
  typename Vector<T>::type acc[kRows][vectors] = {};
  add_steps_of_tile<Factor, vectors>(rows, kPanel, columns, vector_stride<T>(panel_stride), steps, acc);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) add_as_double(sums + r * stride + v * n, acc[r][v]);
}

template <typename Factor>
void add_products(const typename Factor::Element* row_panel, const Panels<typename Factor::Element>& panels,
                  double* sums, int64_t stride) {
  constexpr int n = Vector<typename Factor::Sum>::lanes;
  const int64_t lanes = panels.count * kPanel, whole = lanes / (kVectors * n) * (kVectors * n);
  for (int64_t l = 0; l < whole; l += kVectors * n) {
    const auto* const columns = panels.data + l / kPanel * panels.stride + l % kPanel;
    for (int r = 0; r < kPanel; r += kRows)
      add_tile<Factor, kVectors>(row_panel + r, columns, panels.stride, panels.steps, sums + r * stride + l, stride);
  }
  if (whole < lanes)  // one panel, one vector
    for (int r = 0; r < kPanel; r += kRows)
      add_tile<Factor, 1>(row_panel + r, panels.data + whole / kPanel * panels.stride, 0, panels.steps,
                          sums + r * stride + whole, stride);
}

// ---- products of planes

constexpr int kPlanes = 4;                                     // of the columns, one vector each
constexpr int kPlaneRows = GENIMG_VECTOR_BYTES == 64 ? 4 : 2;  // as many sums as leave registers for the columns
constexpr int kPlaneTiles = kPanel / kPlaneRows * (kPanel / kPlanes);

template <typename T>
struct PlaneTile {
  using V = typename Vector<T>::type;

  const T *rows[kPlaneRows], *columns[kPlanes];

  // Past the last plane stands the last one again, of which nothing is kept.
  PlaneTile(const Planes<const T>& r, int64_t row, const Planes<const T>& c, int64_t column) {
    for (int i = 0; i < kPlaneRows; ++i) rows[i] = r.data + (row + i < r.count ? row + i : r.count - 1) * r.stride;
    for (int j = 0; j < kPlanes; ++j)
      columns[j] = c.data + (column + j < c.count ? column + j : c.count - 1) * c.stride;
  }
};

template <typename V, typename T>
GENIMG_HD V load_first(const T* from, int64_t count) {
  T values[sizeof(V) / sizeof(T)] = {};
  for (int64_t i = 0; i < count; ++i) values[i] = from[i];
  return load<V>(values);
}

template <typename T, typename Load>
GENIMG_HD void add_pixels(const PlaneTile<T>& tile, const Load& load_from,
                          typename Vector<T>::type (&sums)[kPlaneRows][kPlanes]) {
  typename Vector<T>::type c[kPlanes];
#pragma GCC unroll 4
  for (int j = 0; j < kPlanes; ++j) c[j] = load_from(tile.columns[j]);
#pragma GCC unroll 4
  for (int i = 0; i < kPlaneRows; ++i) {
    const typename Vector<T>::type r = load_from(tile.rows[i]);
#pragma GCC unroll 4
    for (int j = 0; j < kPlanes; ++j) sums[i][j] += r * c[j];
  }
}

// Adds the products of the pixels [begin, end) to the totals, as many doubles a product as a vector has lanes.
template <typename T>
void add_run(const PlaneTile<T>& tile, int64_t begin, int64_t end, double* totals) {
  using V = typename Vector<T>::type;
  constexpr int n = Vector<T>::lanes;
  V sums[kPlaneRows][kPlanes] = {};
  int64_t p = begin;
  for (; p + n <= end; p += n) add_pixels(tile, [p](const T* plane) { return load<V>(plane + p); }, sums);
  if (p < end) add_pixels(tile, [p, end](const T* plane) { return load_first<V>(plane + p, end - p); }, sums);
#pragma GCC unroll 4
  for (int i = 0; i < kPlaneRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kPlanes; ++j) add_as_double(totals + (i * kPlanes + j) * n, sums[i][j]);
}

template <typename Function>
GENIMG_HD void for_each_tile(int64_t rows, int64_t columns, bool symmetric, const Function& function) {
  for (int64_t row = 0; row < rows; row += kPlaneRows)
    for (int64_t column = symmetric ? row / kPlanes * kPlanes : 0; column < columns; column += kPlanes)
      function(row, column);
}

template <typename T>
void add_plane_products(const Planes<const T>& rows, const Planes<const T>& columns, int64_t pixels, bool symmetric,
                        double* sums) {
  constexpr int n = Vector<T>::lanes;
  constexpr int64_t kRun = 4096 / sizeof(T);  // of all planes together, in the second cache
  constexpr int kTotals = kPlaneRows * kPlanes * n;
  double totals[kPlaneTiles * kTotals] = {};
  for (int64_t begin = 0; begin < pixels; begin += kRun) {
    double* to = totals;
    for_each_tile(rows.count, columns.count, symmetric, [&](int64_t row, int64_t column) {
      const PlaneTile<T> tile(rows, row, columns, column);
      add_run(tile, begin, begin + kRun < pixels ? begin + kRun : pixels, to);
      to += kTotals;
    });
  }
  const double* from = totals;
  for_each_tile(rows.count, columns.count, symmetric, [&](int64_t row, int64_t column) {
    for (int i = 0; i < kPlaneRows; ++i)
      for (int j = 0; j < kPlanes; ++j)
        for (int l = 0; l < n; ++l, ++from) sums[(row + i) * kPanel + column + j] += *from;
  });
}

template <typename T>
void add_steps(const T* panel, int64_t steps, const T* step_factors, double* sums) {
  T totals[kPanel] = {};
  for (int64_t s = 0; s < steps; ++s) {
    const T factor = step_factors == nullptr ? T(1) : step_factors[s];
    for (int l = 0; l < kPanel; ++l) totals[l] += factor * panel[s * kPanel + l];
  }
  for (int l = 0; l < kPanel; ++l) sums[l] += totals[l];
}

// rows x columns numbers of `values` (rows kPanel apart) to `to`, less the target.
template <typename T>
void put(const T* values, int64_t rows, int64_t columns, const T* target, T* to, int64_t stride, Losses& losses) {
  double squares[kPanel] = {}, absolutes[kPanel] = {};
  for (int64_t i = 0; i < rows; ++i)
    if (target == nullptr)
      for (int64_t j = 0; j < columns; ++j) to[i * stride + j] = values[i * kPanel + j];
    else
      for (int64_t j = 0; j < columns; ++j) {
        const T difference = values[i * kPanel + j] - target[i * stride + j];
        to[i * stride + j] = difference;
        squares[j] += static_cast<double>(difference) * difference;
        absolutes[j] += __builtin_fabs(static_cast<double>(difference));
      }
  if (target == nullptr) return;
  for (int j = 0; j < kPanel; ++j) {
    losses.squares += squares[j];
    losses.absolutes += absolutes[j];
  }
}

template <typename T>
void write(const Block<T>& block, Losses& losses) {
  constexpr int n = Vector<T>::lanes;
  T values[kPanel * kPanel], mirrored[kPanel * kPanel];
  for (int64_t i = 0; i < kPanel; ++i)
    for (int64_t j = 0; j < kPanel; ++j) {
      double value = block.products[i * block.products_stride + j];
      if (block.total > 0) value = centered(value, block.row_sums[i], block.column_sums[j], block.total);
      values[i * kPanel + j] = static_cast<T>(block.scale * value);
    }
  put(values, block.rows, block.columns, block.target, block.gram, block.stride, losses);
  if (block.mirror == nullptr) return;
  for (int i = 0; i < kPanel; i += n)
    for (int j = 0; j < kPanel; j += n) transpose(values + i * kPanel + j, kPanel, mirrored + j * kPanel + i, kPanel);
  put(mirrored, block.columns, block.rows, block.mirror_target, block.mirror, block.stride, losses);
}

template <typename T, int vectors>
GENIMG_HD void multiply_tile(const T* rows, const T* columns, int64_t panel_stride, int64_t steps, const Tile<T>& tile,
                             int64_t first) {
  using V = typename Vector<T>::type;
  constexpr int n = Vector<T>::lanes;
  V acc[kRows][vectors] = {};
  const int64_t next = vector_stride<T>(panel_stride);
  add_steps_of_tile<Numbers<T>, vectors>(rows, kRows, columns, next, steps, acc);
  for (int r = 0; r < kRows && r < tile.rows; ++r)
    for (int v = 0; v < vectors; ++v) {
      V value = acc[r][v];
      const int64_t lane = first + v * n;
      if (tile.gate != nullptr)
        value = load<V>(tile.gate + lane / kPanel * panel_stride + lane % kPanel + r * kPanel) > 0 ? value : V{};
      T* const to = tile.out + r * tile.stride + lane;
      if (lane + n <= tile.lanes) {
        store(to, value);
        continue;
      }
      for (int l = 0; l < n; ++l)
        if (lane + l < tile.lanes) to[l] = value[l];
    }
}

template <typename T>
void multiply(const T* rows, const Panels<T>& panels, const Tile<T>& tile) {
  constexpr int n = Vector<T>::lanes;
  const int64_t lanes = panels.count * kPanel, whole = lanes / (kVectors * n) * (kVectors * n);
  for (int64_t l = 0; l < whole; l += kVectors * n)
    multiply_tile<T, kVectors>(rows, panels.data + l / kPanel * panels.stride + l % kPanel, panels.stride, panels.steps,
                               tile, l);
  if (whole < lanes)
    multiply_tile<T, 1>(rows, panels.data + whole / kPanel * panels.stride, panels.stride, panels.steps, tile, whole);
}

// out[r] = the sum of matrix[r][c] x[c] for kPlaneRows rows at most and kPlanes vectors of pixels. Past the last row
// stands the last one again.
template <typename T>
GENIMG_HD void multiply_rows(const T* matrix, int64_t columns, const T* x, int64_t rows, T* out, int64_t stride) {
  using V = typename Vector<T>::type;
  constexpr int n = Vector<T>::lanes;
  const T* row[kPlaneRows];
  for (int i = 0; i < kPlaneRows; ++i) row[i] = matrix + (i < rows ? i : rows - 1) * columns;
  V acc[kPlaneRows][kPlanes] = {};
  for (int64_t c = 0; c < columns; ++c)
#pragma GCC unroll 4
    for (int i = 0; i < kPlaneRows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < kPlanes; ++v) acc[i][v] += row[i][c] * load<V>(x + (c * kPlanes + v) * n);
  for (int i = 0; i < kPlaneRows && i < rows; ++i)
    for (int v = 0; v < kPlanes; ++v) store(out + i * stride + v * n, acc[i][v]);
}

template <typename T>
void multiply_planes(const T* matrix, const Planes<const T>& x, int64_t pixels, const Planes<T>& out) {
  constexpr int64_t kBlock = kPlanes * Vector<T>::lanes, kRun = 1024 / sizeof(T);
  // Planes are often as far apart as evicts each other from the first cache: a run of each is copied. [block][channel]
  T from[kPanel * kRun], to[kPlaneRows * kBlock];
  for (int64_t p = 0; p < pixels; p += kRun) {
    const int64_t count = pixels - p < kRun ? pixels - p : kRun;
    for (int64_t c = 0; c < x.count; ++c) {
      const T* const plane = x.data + c * x.stride + p;
      for (int64_t l = 0; l < count; l += kBlock) {
        T* const at = from + l * x.count + c * kBlock;
        if (l + kBlock <= count)
          __builtin_memcpy(at, plane + l, sizeof(T) * kBlock);
        else
          for (int64_t i = 0; i < kBlock; ++i) at[i] = l + i < count ? plane[l + i] : T(0);
      }
    }
    for (int64_t r = 0; r < out.count; r += kPlaneRows) {
      const int64_t rows = out.count - r < kPlaneRows ? out.count - r : kPlaneRows;
      for (int64_t l = 0; l < count; l += kBlock) {
        const T *const row = matrix + r * x.count, *const block = from + l * x.count;
        T* const at = out.data + r * out.stride + p + l;
        if (l + kBlock <= count) {
          multiply_rows(row, x.count, block, rows, at, out.stride);
          continue;
        }
        multiply_rows(row, x.count, block, rows, to, kBlock);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < count - l; ++j) at[i * out.stride + j] = to[i * kBlock + j];
      }
    }
  }
}

// ---- pairs of bfloat16

#if defined(__AVX512BF16__)
struct BFloatPairs {
  using Element = uint32_t;
  using Sum = float;
  using V = u32v;
  GENIMG_HD f32v add(f32v sum, u32v a, uint32_t b) {
    return (f32v)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)_mm512_set1_epi32(static_cast<int>(b)));
  }
};

uint32_t pair_of(const Strip<BFloat>& strip, int64_t lane, int64_t step) {
  if (lane >= strip.lanes) return 0;
  const BFloat* const at = strip.data + lane * strip.lane_stride + step * strip.step_stride;
  const uint32_t second = step + 1 < strip.steps ? at[strip.step_stride].bits : 0;
  return at[0].bits | second << 16;
}

void pack_pairs(const Strip<BFloat>& strip, uint32_t* panel) {
  constexpr int n = Vector<float>::lanes;
  int64_t done = 0;
  if (strip.lanes == kPanel && strip.step_stride == 1 && strip.lane_stride % 2 == 0) {
    // Two neighbouring steps are one number already: squares of them are transposed.
    static_assert(n == kPanel);
    const float* const from = reinterpret_cast<const float*>(strip.data);
    for (; done + 2 * n <= strip.steps; done += 2 * n)
      transpose(from + done / 2, strip.lane_stride / 2, reinterpret_cast<float*>(panel) + done / 2 * kPanel, kPanel);
  } else if (strip.lanes == kPanel && strip.lane_stride == 1) {
    for (; done + 2 <= strip.steps; done += 2) {
      const BFloat* const at = strip.data + done * strip.step_stride;
      for (int l = 0; l < kPanel; ++l)
        panel[done / 2 * kPanel + l] = at[l].bits | static_cast<uint32_t>(at[strip.step_stride + l].bits) << 16;
    }
  }
  for (; done < strip.steps; done += 2)
    for (int l = 0; l < kPanel; ++l) panel[done / 2 * kPanel + l] = pair_of(strip, l, done);
}
#endif

template <typename T>
constexpr Kernels<T> table() {
  Kernels<T> kernels = {&pack<T, T>,
                        &pack<Half, T>,
                        &pack<BFloat, T>,
                        &add_products<Numbers<T>>,
                        &add_plane_products<T>,
                        &add_steps<T>,
                        &write<T>,
                        &multiply<T>,
                        kRows,
                        &multiply_planes<T>,
                        nullptr,
                        nullptr};
#if defined(__AVX512BF16__)
  kernels.pack_pairs = &pack_pairs;
  kernels.add_pair_products = &add_products<BFloatPairs>;
#endif
  return kernels;
}

}  // namespace

extern const Kernels<float> float_kernels = table<float>();
extern const Kernels<double> double_kernels = table<double>();

}  // namespace genimg::gram::GENIMG_ISA
