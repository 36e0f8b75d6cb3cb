// The mathematics of histogram matching, once, for host and device.
//
// Matching goes through the sorted reference S[0..m) and the order of the n source values that take part. Both methods
// give the r-th smallest source value the number mix(S[lower], S[upper], weight), and differ in the Position:
//
//   rank   quantile (r + 1/2) / n of S, S[j] standing at quantile (j + 1/2) / m (Hazen's positions, the "hazen" method
//          of numpy.quantile); for n == m this is S[r] itself.
//   value  equal source values share one number: with a = the count of source values <= this one, the linear
//          interpolation at a / n of the reference's distribution function, whose nodes are (count of values <= y, over
//          m; y) for the distinct y; left of the first node its value.
//
// Positions are computed in integers, so that no quantile falls on the wrong side of a node; 2 * n * m must fit in 63
// bits. NaN and masked pixels take no part: they have the largest key and sort last. -0 counts as +0.
#pragma once

#include <stdint.h>

#include "common/host_device.h"

namespace genimg::histogram {

enum class Method : int { value = 0, rank = 1 };

// Unsigned integers in the order of the numbers: key(x) < key(y) exactly where x < y, equal where x == y, and
// Key<T>::absent, above all numbers, for NaN.
template <typename T>
struct Key;
template <>
struct Key<float> {
  using type = uint32_t;
  static constexpr uint32_t absent = 0xffffffffu, sign = 0x80000000u;
};
template <>
struct Key<double> {
  using type = uint64_t;
  static constexpr uint64_t absent = 0xffffffffffffffffu, sign = 0x8000000000000000u;
};

template <typename T>
GENIMG_HD typename Key<T>::type key_of(T x) {
  using U = typename Key<T>::type;
  const T positive_zero = x + T(0);
  U bits;
  __builtin_memcpy(&bits, &positive_zero, sizeof bits);
  const U key = (bits & Key<T>::sign) ? U(~bits) : U(bits | Key<T>::sign);
  return x == x ? key : Key<T>::absent;
}

// The number of a key; NaN for Key<T>::absent.
template <typename T>
GENIMG_HD T value_of(typename Key<T>::type key) {
  using U = typename Key<T>::type;
  const U bits = (key & Key<T>::sign) ? U(key ^ Key<T>::sign) : U(~key);
  T x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// Between S[lower] and S[upper], 0 <= weight < 1; weight is 0 where lower == upper.
struct Position {
  int64_t lower, upper;
  double weight;
};

// n source values, m reference values, 0 <= r < n.
GENIMG_HD Position rank_position(int64_t r, int64_t n, int64_t m) {
  if (n == m) return {r, r, 0};
  const int64_t numerator = (2 * r + 1) * m - n;
  if (numerator <= 0) return {0, 0, 0};
  const int64_t j = numerator / (2 * n), remainder = numerator - j * (2 * n);
  if (j >= m - 1) return {m - 1, m - 1, 0};
  if (remainder == 0) return {j, j, 0};
  return {j, j + 1, static_cast<double>(remainder) / static_cast<double>(2 * n)};
}

// Where the quantile a / n (1 <= a <= n) falls among the sorted reference: at quotient + remainder / n values from
// below.
struct Quantile {
  int64_t quotient, remainder;
};
GENIMG_HD Quantile quantile(int64_t a, int64_t n, int64_t m) {
  if (n == m) return {a, 0};
  const int64_t q = a * m / n;
  return {q, a * m - q * n};
}

// The position of q, where [begin, end) is the run of equal values of S that holds the index q.quotient < m. The last
// value of a run stands for all of it.
GENIMG_HD Position value_position(Quantile q, int64_t n, int64_t begin, int64_t end) {
  if (begin == 0) return {end - 1, end - 1, 0};
  const double above =
      static_cast<double>(q.quotient - begin) + static_cast<double>(q.remainder) / static_cast<double>(n);
  if (above == 0) return {begin - 1, begin - 1, 0};
  return {begin - 1, end - 1, above / static_cast<double>(end - begin)};
}

// First index in [low, high) whose value is not below x (run_begin), or is above x (run_end); high if there is none.
template <typename T>
GENIMG_HD int64_t run_begin(const T* sorted, int64_t low, int64_t high, T x) {
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (sorted[middle] < x)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}
template <typename T>
GENIMG_HD int64_t run_end(const T* sorted, int64_t low, int64_t high, T x) {
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (sorted[middle] <= x)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The run of equal values around sorted[index], from its first index, not below low, to the one behind its last, not
// above high: found in steps that double, since runs are short.
template <typename T>
GENIMG_HD int64_t run_begin_around(const T* sorted, int64_t index, int64_t low) {
  int64_t step = 1;
  while (index - step >= low && sorted[index - step] == sorted[index]) step *= 2;
  return run_begin(sorted, index - step > low ? index - step : low, index, sorted[index]);
}
template <typename T>
GENIMG_HD int64_t run_end_around(const T* sorted, int64_t index, int64_t high) {
  int64_t step = 1;
  while (index + step < high && sorted[index + step] == sorted[index]) step *= 2;
  return run_end(sorted, index, index + step < high ? index + step : high, sorted[index]);
}

// How many values of a sorted array come before the NaNs at its end.
template <typename T>
GENIMG_HD int64_t count_present(const T* sorted, int64_t size) {
  int64_t low = 0, high = size;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (sorted[middle] == sorted[middle])
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The position of a source value with `a` of the n source values at or below it, in the m > 0 sorted values.
template <typename T>
GENIMG_HD Position find_value_position(int64_t a, int64_t n, const T* sorted, int64_t m) {
  const Quantile q = quantile(a, n, m);
  if (q.quotient >= m) return {m - 1, m - 1, 0};
  return value_position(q, n, run_begin_around(sorted, q.quotient, 0), run_end_around(sorted, q.quotient, m));
}

// Linear interpolation from low to high >= low: monotone in the weight, inside [low, high], never NaN. Towards an
// infinite end there is nothing in between: the nearer end is taken.
template <typename T>
GENIMG_HD T mix(T low, T high, double weight) {
  if (weight == 0 || low == high) return low;
  const T w = static_cast<T>(weight), difference = high - low;
  if (difference - difference == 0) {
    const T x = low + w * difference;
    return x > high ? high : x;
  }
  if (low - low != 0 || high - high != 0) return weight < 0.5 ? low : high;
  const T half = low * T(0.5);  // the difference of two finite numbers overflowed
  return (half + w * (high * T(0.5) - half)) * T(2);
}

// The nearest integer, ties to the even one, clipped to the range [0, max].
GENIMG_HD int64_t round_to_even(double x, int64_t max) {
  if (!(x > 0)) return 0;
  if (x >= static_cast<double>(max)) return max;
  const int64_t below = static_cast<int64_t>(x);
  const double rest = x - static_cast<double>(below);
  return below + (rest > 0.5 || (rest == 0.5 && (below & 1)) ? 1 : 0);
}

}  // namespace genimg::histogram
