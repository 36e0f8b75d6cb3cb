#include "steerable/space_kernels.h"

#include "common/simd.h"

namespace genimg::steerable {
namespace GENIMG_ISA {
namespace {

// A block of outputs that stays in registers: 16 accumulators with the 32 registers of AVX-512 and NEON, else 8. kRows
// is no more than the fewest rows of taps (every second one of sp5's lo).
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

// The first kRows - 1 rows of planes concern the first outputs only, ...
template <typename T, int Row = 0>
__attribute__((always_inline)) inline void add_first_rows(Block<T>& block, const T* const* rows, const T* taps,
                                                          int planes) {
  if constexpr (Row < kRows - 1) {
    block.template add_row<0, Row>(rows[Row], taps + Row * planes, planes);
    add_first_rows<T, Row + 1>(block, rows, taps, planes);
  }
}

// ... the last kRows - 1 the last outputs only.
template <typename T, int Row = 1>
__attribute__((always_inline)) inline void add_last_rows(Block<T>& block, const T* const* rows, const T* last_taps,
                                                         int planes) {
  if constexpr (Row < kRows) {
    block.template add_row<Row, kRows - 1>(rows[Row - 1], last_taps, planes);
    add_last_rows<T, Row + 1>(block, rows, last_taps, planes);
  }
}

template <typename T>
void accumulate(const T* const* rows, int planes, int taps_rows, const T* taps, bool add, T* out) {
  using V = typename Vector<T>::type;
  constexpr int lanes = Vector<T>::lanes, tile = Block<T>::tile;
  Block<T> block;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) block.sum[r][x] = add ? load<V>(out + r * tile + x * lanes) : V{};
  add_first_rows(block, rows, taps, planes);
  for (int j = kRows - 1; j < taps_rows; ++j)
    block.template add_row<0, kRows - 1>(rows[j], taps + static_cast<int64_t>(j) * planes, planes);
  add_last_rows(block, rows + taps_rows, taps + static_cast<int64_t>(taps_rows - 1) * planes, planes);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) store(out + r * tile + x * lanes, block.sum[r][x]);
}

// A row's tile and the vectors beside it, so that its shifted copies are made without a load each.
#if defined(__AVX512F__)
template <typename T>
class ShiftedRow {
  using V = typename Vector<T>::type;
  using I = typename Vector<T>::integer;
  static constexpr int lanes = Vector<T>::lanes;

 public:
  static constexpr int margin = lanes;

  explicit ShiftedRow(const T* row) {
#pragma GCC unroll 8
    for (int x = 0; x < kVectors + 2; ++x) v_[x] = load<V>(row + (x - 1) * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) first_[i] = i;
  }
  V left(int x, int by) const { return __builtin_shuffle(v_[x], v_[x + 1], first_ + (lanes - by)); }
  V right(int x, int by) const { return __builtin_shuffle(v_[x + 1], v_[x + 2], first_ + by); }

 private:
  V v_[kVectors + 2];
  I first_;
};
#else
template <typename T>
class ShiftedRow {
  using V = typename Vector<T>::type;
  static constexpr int lanes = Vector<T>::lanes;

 public:
  static constexpr int margin = 8;

  explicit ShiftedRow(const T* row) : row_(row) {}
  V left(int x, int by) const { return load<V>(row_ + x * lanes - by); }
  V right(int x, int by) const { return load<V>(row_ + x * lanes + by); }

 private:
  const T* row_;
};
#endif

template <typename T, bool Sums, bool Differences>
void fold_planes(const T* row, int gap, int count, T* sums, T* differences) {
  using V = typename Vector<T>::type;
  constexpr int lanes = Vector<T>::lanes, tile = Block<T>::tile;
  const ShiftedRow<T> shifted(row);
  int m = 0;
  if (gap == 0) {
    if (Sums) {
#pragma GCC unroll 8
      for (int x = 0; x < kVectors; ++x) store(sums + x * lanes, shifted.right(x, 0));
      sums += tile;
    }
    m = 1;
  }
  for (; m < count; ++m) {
#pragma GCC unroll 8
    for (int x = 0; x < kVectors; ++x) {
      const V a = shifted.left(x, m), b = shifted.right(x, m + gap);
      if (Sums) store(sums + x * lanes, b + a);
      if (Differences) store(differences + x * lanes, b - a);
    }
    if (Sums) sums += tile;
    if (Differences) differences += tile;
  }
}

template <typename T>
void fold(const T* row, int gap, int count, T* sums, T* differences) {
  if (differences == nullptr) return fold_planes<T, true, false>(row, gap, count, sums, differences);
  if (sums == nullptr) return fold_planes<T, false, true>(row, gap, count, sums, differences);
  fold_planes<T, true, true>(row, gap, count, sums, differences);
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
constexpr SpaceKernels<T> table = {Block<T>::tile, kRows,     ShiftedRow<T>::margin,
                                   &accumulate<T>, &fold<T>,  &combine<T>,
                                   &copy<T>,       &split<T>, &interleave<T>};

}  // namespace

extern const SpaceKernels<float> space_float = table<float>;
extern const SpaceKernels<double> space_double = table<double>;

}  // namespace GENIMG_ISA
}  // namespace genimg::steerable
