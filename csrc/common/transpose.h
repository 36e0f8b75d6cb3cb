// A square of V x V numbers transposed in registers. Only for files compiled once per instruction set (isa.h).
#pragma once

#include "common/simd.h"

namespace genimg {
inline namespace GENIMG_ISA {
namespace detail {

template <int... I>
struct Indices {};
template <int N, int... I>
struct Count : Count<N - 1, N - 1, I...> {};
template <int... I>
struct Count<0, I...> {
  using type = Indices<I...>;
};

template <typename V>
using All = typename Count<sizeof(V) / sizeof(V{}[0])>::type;

// Within each 128-bit quarter of `quarter` lanes: the low (or high) halves of a and b, lane by lane in turn.
template <int quarter, int high, typename V, int... I>
GENIMG_HD V interleave(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I / quarter * quarter + I % quarter / 2 + high * quarter / 2 + I % 2 * n)...);
}
// The same in pairs of lanes.
template <int quarter, int high, typename V, int... I>
GENIMG_HD V interleave_pairs(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (I / quarter * quarter + I % 2 + high * 2 + I / 2 % 2 * n)...);
}
// Of 128-bit quarters: every `stride`-th of a from `first` on, then of b.
template <int quarter, int first, int stride, typename V, int... I>
GENIMG_HD V pick_quarters(V a, V b, Indices<I...>) {
  constexpr int n = sizeof...(I), half = n / 2;
  return __builtin_shufflevector(
      a, b, (I % half / quarter * stride * quarter + first * quarter + I % quarter + I / half * n)...);
}

template <int odd, typename V, int... I>
GENIMG_HD V every_second(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + odd)...);
}
template <int high, typename V, int... I>
GENIMG_HD V alternate(V even, V odd, Indices<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(even, odd, (I / 2 + high * n / 2 + I % 2 * n)...);
}

}  // namespace detail

// to[j][i] = from[i][j] for j >= first; rows are `from_stride` and `to_stride` numbers apart. The squares may be the
// same memory.
template <typename T, int first = 0>
GENIMG_HD void transpose(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  using V = typename Vector<T>::type;
  constexpr int n = Vector<T>::lanes, quarter = 16 / sizeof(T), quarters = n / quarter;
  using All = detail::All<V>;
  V rows[n];
#pragma GCC unroll 16
  for (int i = 0; i < n; ++i) rows[i] = load<V>(from + i * from_stride);
  // Squares within the quarters of `quarter` adjacent rows.
#pragma GCC unroll 16
  for (int i = 0; i < n; i += quarter) {
    if constexpr (quarter == 2) {
      const V a = rows[i], b = rows[i + 1];
      rows[i] = detail::interleave<2, 0>(a, b, All());
      rows[i + 1] = detail::interleave<2, 1>(a, b, All());
    } else {
      const V a = detail::interleave<4, 0>(rows[i], rows[i + 1], All());
      const V b = detail::interleave<4, 1>(rows[i], rows[i + 1], All());
      const V c = detail::interleave<4, 0>(rows[i + 2], rows[i + 3], All());
      const V d = detail::interleave<4, 1>(rows[i + 2], rows[i + 3], All());
      rows[i] = detail::interleave_pairs<4, 0>(a, c, All());
      rows[i + 1] = detail::interleave_pairs<4, 1>(a, c, All());
      rows[i + 2] = detail::interleave_pairs<4, 0>(b, d, All());
      rows[i + 3] = detail::interleave_pairs<4, 1>(b, d, All());
    }
  }
  const auto put = [=](int j, V row) {
    if (j >= first) store(to + j * to_stride, row);
  };
  // Squares of quarters.
#pragma GCC unroll 4
  for (int c = 0; c < quarter; ++c) {
    if constexpr (quarters == 1) {
      put(c, rows[c]);
    } else if constexpr (quarters == 2) {
      const V a = rows[c], b = rows[c + quarter];
      put(c, detail::pick_quarters<quarter, 0, 1>(a, b, All()));
      put(c + quarter, detail::pick_quarters<quarter, 1, 1>(a, b, All()));
    } else {
      const V a = rows[c], b = rows[c + quarter], d = rows[c + 2 * quarter], e = rows[c + 3 * quarter];
      const V ab0 = detail::pick_quarters<quarter, 0, 1>(a, b, All());
      const V ab1 = detail::pick_quarters<quarter, 2, 1>(a, b, All());
      const V de0 = detail::pick_quarters<quarter, 0, 1>(d, e, All());
      const V de1 = detail::pick_quarters<quarter, 2, 1>(d, e, All());
      put(c, detail::pick_quarters<quarter, 0, 2>(ab0, de0, All()));
      put(c + quarter, detail::pick_quarters<quarter, 1, 2>(ab0, de0, All()));
      put(c + 2 * quarter, detail::pick_quarters<quarter, 0, 2>(ab1, de1, All()));
      put(c + 3 * quarter, detail::pick_quarters<quarter, 1, 2>(ab1, de1, All()));
    }
  }
}

// The even and the odd lanes of the numbers in a, b; and back.
template <typename V>
GENIMG_HD V even_lanes(V a, V b) {
  return detail::every_second<0>(a, b, detail::All<V>());
}
template <typename V>
GENIMG_HD V odd_lanes(V a, V b) {
  return detail::every_second<1>(a, b, detail::All<V>());
}
template <typename V>
GENIMG_HD V alternate_low(V even, V odd) {
  return detail::alternate<0>(even, odd, detail::All<V>());
}
template <typename V>
GENIMG_HD V alternate_high(V even, V odd) {
  return detail::alternate<1>(even, odd, detail::All<V>());
}

}  // namespace GENIMG_ISA
}  // namespace genimg
