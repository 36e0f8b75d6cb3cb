// The masks of the steerable pyramid, once, for scalars on host and device and for SIMD vectors alike: `T` below is
// float, double or a vector of them. Everything is computed from signed frequency indices; no table is stored.
//
// With l = log2 of the radius (1 at half the sampling rate) and w the transition width in octaves,
//   high(l) = sin(pi/2 * clip(1 + l/w, 0, 1)),  low(l) = sqrt(1 - high(l)^2) = sin(pi/2 * clip(-l/w, 0, 1)),
//   highpass residual: high(l);  band i: prod_{j<=i} low(l + j) * high(l + i + 1);  lowpass: prod_{j<=levels} low(l + j)
// (Portilla & Simoncelli 2000, eq. 3-5, with the half-octave raised cosine of the authors' code.)
#pragma once

#include "common/host_device.h"

namespace genimg::steerable {

template <typename T>
struct Lanes;  // scalar: the element type; integer: as wide as T; terms: of the series below, for T's precision
template <>
struct Lanes<float> {
  using scalar = float;
  using integer = int;
  static constexpr int log_terms = 6, sine_terms = 6, mantissa_bits = 23;
  static constexpr int sqrt_half_bits = 0x3f3504f3;
};
template <>
struct Lanes<double> {
  using scalar = double;
  using integer = long long;
  static constexpr int log_terms = 12, sine_terms = 11, mantissa_bits = 52;
  static constexpr long long sqrt_half_bits = 0x3fe6a09e667f3bcdLL;
};

GENIMG_HD float integer_to_real(int i) { return static_cast<float>(i); }
GENIMG_HD double integer_to_real(long long i) { return static_cast<double>(i); }

// log2 of a positive normal number: x = 2^e * m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1)).
template <typename T>
GENIMG_HD T log2_of(T x) {
  using L = Lanes<T>;
  using S = typename L::scalar;
  using I = typename L::integer;
  I bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const I exponent = (bits - L::sqrt_half_bits) >> L::mantissa_bits;
  const I mantissa = bits - (exponent << L::mantissa_bits);
  T m;
  __builtin_memcpy(&m, &mantissa, sizeof m);
  const T s = (m - S(1)) / (m + S(1)), z = s * s;
  T sum = z * S(0);
  for (int k = L::log_terms - 1; k >= 0; --k) sum = sum * z + S(1.0 / (2 * k + 1));
  return integer_to_real(exponent) + s * sum * S(2.88539008177792681472);  // 2 / ln 2
}

// sin(pi/2 * x) for x in [0, 1]: 0 at 0, 1 at 1 up to rounding.
template <typename T>
GENIMG_HD T sine_quarter(T x) {
  using L = Lanes<T>;
  using S = typename L::scalar;
  const T a = x * S(1.57079632679489661923), z = a * a;
  T sum = z * S(0);
  for (int k = L::sine_terms; k >= 1; --k) sum = S(1) - sum * z * S(1.0 / ((2 * k) * (2 * k + 1)));
  return a * sum;
}

template <typename T, typename S>
GENIMG_HD T clip01(T x, S) {
  const T zero = x * S(0);
  x = x < zero ? zero : x;
  return x > zero + S(1) ? zero + S(1) : x;
}

// The radial transitions; l is log2 of the radius, inverse_width = 1 / twidth.
template <typename T, typename S>
GENIMG_HD T high(T l, S inverse_width) {
  return sine_quarter(clip01(l * inverse_width + S(1), S()));
}
template <typename T, typename S>
GENIMG_HD T low(T l, S inverse_width) {
  return sine_quarter(clip01(-l * inverse_width, S()));
}

// low(l) * low(l + 1) * ... * low(l + last): what is left after the lowpass filters 0 .. last. `overlap` is
// ceil(twidth): a factor that is more than that many octaves above another one is 1 wherever the other is not 0.
template <typename T, typename S>
GENIMG_HD T low_product(T l, int last, int overlap, S inverse_width) {
  T product = low(l + S(last), inverse_width);
  for (int j = last - 1; j >= 0 && j > last - overlap; --j) product = product * low(l + S(j), inverse_width);
  return product;
}

template <typename T, typename S>
GENIMG_HD T band_radial(T l, int level, int overlap, S inverse_width) {
  return low_product(l, level, overlap, inverse_width) * high(l + S(level + 1), inverse_width);
}

// base^exponent for a small non-negative integer exponent; 0^0 = 1.
template <typename T>
GENIMG_HD T power(T base, int exponent) {
  using S = typename Lanes<T>::scalar;
  T result = base * S(0) + S(1);
  for (int k = 0; k < exponent; ++k) result = result * base;
  return result;
}

}  // namespace genimg::steerable
