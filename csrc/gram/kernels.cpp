#include "gram/kernels.h"

#include "common/simd.h"
#include "common/transpose.h"

namespace genimg::gram::GENIMG_ISA {
namespace {

// A tile of kX x kY sums fills half of the registers.
constexpr int kX = 4, kY = GENIMG_VECTOR_BYTES == 64 ? 4 : 2;
constexpr int kResident = 16;  // rows of x that stay in the first cache while those of y pass
static_assert(kRowGroup % kX == 0 && kRowGroup % kY == 0 && kResident % kX == 0);

template <typename T>
GENIMG_HD T number(T x) {
  return x;
}
GENIMG_HD float number(Half x) { return half_to_float(x.bits); }
GENIMG_HD float number(BFloat x) { return bfloat_to_float(x.bits); }

template <typename S, typename T>
void pack_rows(const Run<S>& run, const T* pivots, const T* factors, T* to, int64_t to_stride) {
  for (int64_t c = 0; c < run.channels; ++c) {
    const S* const from = run.data + c * run.channel_stride;
    T* const row = to + c * to_stride;
    const T pivot = pivots == nullptr ? T(0) : pivots[c];
    if (run.pixel_stride == 1)
      for (int64_t p = 0; p < run.pixels; ++p) row[p] = number(from[p]) - pivot;
    else
      for (int64_t p = 0; p < run.pixels; ++p) row[p] = number(from[p * run.pixel_stride]) - pivot;
    if (factors != nullptr)
      for (int64_t p = 0; p < run.pixels; ++p) row[p] *= factors[p];
  }
}

template <typename S>
constexpr bool is_transposable = false;
template <>
constexpr bool is_transposable<float> = true;
template <>
constexpr bool is_transposable<double> = true;

template <typename S, typename T>
void pack(const Run<S>& run, const T* pivots, const T* factors, T* to, int64_t to_stride) {
  if constexpr (is_transposable<S>) {
    constexpr int64_t n = Vector<T>::lanes;
    if (run.channel_stride == 1 && run.pixel_stride != 1 && pivots == nullptr && factors == nullptr) {
      // Channels last: squares are transposed in registers.
      const int64_t channels = run.channels / n * n, pixels = run.pixels / n * n;
      for (int64_t p = 0; p < pixels; p += n)
        for (int64_t c = 0; c < channels; c += n)
          transpose(run.data + p * run.pixel_stride + c, run.pixel_stride, to + c * to_stride + p, to_stride);
      const Run<S> right = {run.data + channels, run.channels - channels, 1, pixels, run.pixel_stride};
      pack_rows<S, T>(right, nullptr, nullptr, to + channels * to_stride, to_stride);
      const Run<S> below = {run.data + pixels * run.pixel_stride, run.channels, 1, run.pixels - pixels,
                            run.pixel_stride};
      return pack_rows<S, T>(below, nullptr, nullptr, to + pixels, to_stride);
    }
  }
  pack_rows(run, pivots, factors, to, to_stride);
}

// The sums of the lanes of sums[0 .. count), in order, as count / lanes vectors.
template <typename V, int count, int lanes>
GENIMG_HD void sum_lanes(V* sums) {
  if constexpr (lanes > 1) {
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i)
      sums[i] = even_lanes(sums[2 * i], sums[2 * i + 1]) + odd_lanes(sums[2 * i], sums[2 * i + 1]);
    sum_lanes<V, count / 2, lanes / 2>(sums);
  }
}

template <typename T>
GENIMG_HD void add_tile(const T* x, const T* y, int64_t stride, int64_t pixels, double* sums, int64_t sums_stride) {
  using V = typename Vector<T>::type;
  constexpr int n = Vector<T>::lanes;
  V acc[kX * kY] = {};
  for (int64_t p = 0; p < pixels; p += n) {
    V a[kX], b[kY];
#pragma GCC unroll 4
    for (int i = 0; i < kX; ++i) a[i] = load<V>(x + i * stride + p);
#pragma GCC unroll 4
    for (int j = 0; j < kY; ++j) b[j] = load<V>(y + j * stride + p);
#pragma GCC unroll 4
    for (int i = 0; i < kX; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kY; ++j) acc[i * kY + j] += a[i] * b[j];
  }
  sum_lanes<V, kX * kY, n>(acc);
  T totals[kX * kY];
  __builtin_memcpy(totals, acc, sizeof totals);
#pragma GCC unroll 4
  for (int i = 0; i < kX; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kY; ++j) sums[i * sums_stride + j] += totals[i * kY + j];
}

template <typename T>
void add_products(const T* x, int64_t x_rows, const T* y, int64_t y_rows, int64_t stride, int64_t pixels, bool upper,
                  double* sums, int64_t sums_stride) {
  for (int64_t first = 0; first < x_rows; first += kResident) {
    const int64_t last = first + kResident < x_rows ? first + kResident : x_rows;
    for (int64_t j = upper ? first : 0; j < y_rows; j += kY)
      for (int64_t i = first; i < last; i += kX)
        if (!upper || i < j + kY)
          add_tile(x + i * stride, y + j * stride, stride, pixels, sums + i * sums_stride + j, sums_stride);
  }
}

template <typename T>
void add_rows(const T* x, int64_t rows, int64_t stride, int64_t pixels, const T* factors, double* sums) {
  for (int64_t i = 0; i < rows; ++i) {
    double lanes[8] = {};
    const T* const row = x + i * stride;
    for (int64_t p = 0; p < pixels; p += 8)  // the pixels come in multiples of more
      for (int l = 0; l < 8; ++l) lanes[l] += factors == nullptr ? row[p + l] : row[p + l] * factors[p + l];
    for (const double lane : lanes) sums[i] += lane;
  }
}

template <typename T>
void multiply(const T* matrix, int64_t rows, int64_t inner, const T* x, int64_t stride, int64_t pixels, bool gated,
              T* out, int64_t out_stride) {
  using V = typename Vector<T>::type;
  constexpr int n = Vector<T>::lanes, kVectors = 2;
  static_assert(kPixelGroup % (kVectors * n) == 0);
  constexpr int kRows = GENIMG_VECTOR_BYTES == 64 ? kRowGroup : kRowGroup / 2;
  for (int64_t p = 0; p < pixels; p += kVectors * n)
    for (int64_t i = 0; i < rows; i += kRows) {
      const T* m = matrix + i / kRowGroup * kRowGroup * inner + i % kRowGroup;
      V acc[kRows][kVectors] = {};
      for (int64_t j = 0; j < inner; ++j, m += kRowGroup) {
        V b[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) b[v] = load<V>(x + j * stride + p + v * n);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) acc[r][v] += m[r] * b[v];
      }
      for (int r = 0; r < kRows && i + r < rows; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const int64_t at = p + v * n;
          V value = acc[r][v];
          if (gated) value = load<V>(x + (i + r) * stride + at) > 0 ? value : V{};
          T* const to = out + (i + r) * out_stride + at;
          if (at + n <= pixels) {
            store(to, value);
            continue;
          }
          for (int l = 0; l < n; ++l)
            if (at + l < pixels) to[l] = value[l];
        }
    }
}

template <typename T>
constexpr Kernels<T> table() {
  return {&pack<T, T>, &pack<Half, T>, &pack<BFloat, T>, &add_products<T>, &add_rows<T>, &multiply<T>};
}

}  // namespace

extern const Kernels<float> float_kernels = table<float>();
extern const Kernels<double> double_kernels = table<double>();

}  // namespace genimg::gram::GENIMG_ISA
