#include "steerable/space_kernels.h"

#include "common/simd.h"

namespace genimg::steerable {
namespace GENIMG_ISA {
namespace {

// A block of outputs that stays in registers: 16 accumulators with the 32 registers of AVX-512 and NEON, else 8.
constexpr int kRows = 4;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif

template <typename T>
struct Block {
  using V = typename Vector<T>::type;
  static constexpr int lanes = Vector<T>::lanes, tile = kVectors * lanes;

  V sum[kRows][kVectors];

  // One row of planes for the outputs First .. Last, the first of which takes tap row `taps`, the next the row before.
  template <int First, int Last>
  __attribute__((always_inline)) void add_row(const T* row, const T* taps, int planes) {
    for (int k = 0; k < planes; ++k, row += tile, ++taps) {
      V v[kVectors];
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) v[x] = load<V>(row + x * lanes);
#pragma GCC unroll 8
      for (int r = First; r <= Last; ++r) {
        const T tap = taps[-static_cast<int64_t>(r - First) * planes];
#pragma GCC unroll 8
        for (int x = 0; x < kVectors; ++x) sum[r][x] += v[x] * tap;
      }
    }
  }
};

template <typename T>
void accumulate(const T* const* rows, int planes, int taps_rows, const T* taps, bool add, T* out) {
  using V = typename Vector<T>::type;
  constexpr int lanes = Vector<T>::lanes, tile = Block<T>::tile;
  static_assert(kRows == 4);
  Block<T> block;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) block.sum[r][x] = add ? load<V>(out + r * tile + x * lanes) : V{};
  const T* last = taps + static_cast<int64_t>(taps_rows - 1) * planes;
  block.template add_row<0, 0>(rows[0], taps, planes);
  block.template add_row<0, 1>(rows[1], taps + planes, planes);
  block.template add_row<0, 2>(rows[2], taps + 2 * planes, planes);
  for (int j = 3; j < taps_rows; ++j) block.template add_row<0, 3>(rows[j], taps + j * planes, planes);
  block.template add_row<1, 3>(rows[taps_rows], last, planes);
  block.template add_row<2, 3>(rows[taps_rows + 1], last, planes);
  block.template add_row<3, 3>(rows[taps_rows + 2], last, planes);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) store(out + r * tile + x * lanes, block.sum[r][x]);
}

template <typename T>
void fold(const T* row, int gap, bool odd, int first, int count, T* planes) {
  using V = typename Vector<T>::type;
  constexpr int lanes = Vector<T>::lanes, tile = Block<T>::tile;
  for (int m = first; m < first + count; ++m, planes += tile)
#pragma GCC unroll 8
    for (int x = 0; x < tile; x += lanes) {
      const V right = load<V>(row + x + m + gap);
      if (m + gap == 0) {
        store(planes + x, right);
        continue;
      }
      const V left = load<V>(row + x - m);
      store(planes + x, odd ? right - left : right + left);
    }
}

template <typename T>
void combine(const T* a, const T* b, T sign, bool add, int64_t n, T* out) {
  for (int64_t x = 0; x < n; ++x) out[x] = (add ? out[x] : T(0)) + (a[x] + sign * b[x]);
}

template <typename T>
void copy(const T* a, bool add, int64_t n, T* out) {
  for (int64_t x = 0; x < n; ++x) out[x] = add ? out[x] + a[x] : a[x];
}

template <typename T>
void split(const T* row, int64_t n, T* even, T* odd) {
  for (int64_t x = 0; x < n; ++x) {
    even[x] = row[2 * x];
    odd[x] = row[2 * x + 1];
  }
}

template <typename T>
void interleave(const T* even, const T* odd, int64_t n, T* out) {
  for (int64_t x = 0; x < n / 2; ++x) {
    out[2 * x] = even[x];
    out[2 * x + 1] = odd[x];
  }
  if (n % 2 == 1) out[n - 1] = even[n / 2];
}

template <typename T>
constexpr SpaceKernels<T> table = {Block<T>::tile, kRows,    &accumulate<T>, &fold<T>,
                                   &combine<T>,    &copy<T>, &split<T>,      &interleave<T>};

}  // namespace

extern const SpaceKernels<float> space_float = table<float>;
extern const SpaceKernels<double> space_double = table<double>;

}  // namespace GENIMG_ISA
}  // namespace genimg::steerable
