// The masks of the steerable pyramid, once, for scalars on host and device and for SIMD vectors alike: `T` below is
// float, double or a vector of them. Everything is computed from signed frequency indices; no table is stored.
//
// With l = log2 of the radius (1 at half the sampling rate) and w the transition width in octaves,
//   high(l) = sin(pi/2 * clip(1 + l/w, 0, 1)),  low(l) = sqrt(1 - high(l)^2) = sin(pi/2 * clip(-l/w, 0, 1)),
//   highpass residual: high(l);  band i: prod_{j<=i} low(l + j) * high(l + i + 1);  lowpass: prod_{j<=levels} low(l +
//   j)
// (Portilla & Simoncelli 2000, eq. 3-5, with the half-octave raised cosine of the authors' code.)
//
// Two ways to evaluate them (freq.h): `Exact` masks take the functions themselves, `Table` masks what pyrtools 1.1.1
// has in their place, linear interpolation between samples 1/256 of the transition and pi/1024 of the angle apart. The
// samples are computed where they are needed.
#pragma once

#include <math.h>
#include <stdint.h>

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

template <typename S>
GENIMG_HD S between(S left, S right, S fraction) {
  return left + (right - left) * fraction;
}

struct Exact {
  static constexpr bool is_table = false;
  template <typename T>
  GENIMG_HD T transition(T x) {
    return sine_quarter(x);
  }
};
struct Table {
  static constexpr bool is_table = true;
  template <typename S>
  GENIMG_HD S transition(S x) {
    const S steps = 256, position = x * steps;
    const int k = position < steps ? static_cast<int>(position) : 255;
    return between(sine_quarter(k / steps), sine_quarter((k + 1) / steps), position - k);
  }
};

// The radial transitions; l is log2 of the radius, inverse_width = 1 / twidth.
template <typename Masks = Exact, typename T, typename S>
GENIMG_HD T high(T l, S inverse_width) {
  return Masks::transition(clip01(l * inverse_width + S(1), S()));
}
template <typename Masks = Exact, typename T, typename S>
GENIMG_HD T low(T l, S inverse_width) {
  return Masks::transition(clip01(-l * inverse_width, S()));
}

// low(l) * low(l + 1) * ... * low(l + last): what is left after the lowpass filters 0 .. last. `overlap` is
// ceil(twidth): a factor that is more than that many octaves above another one is 1 wherever the other is not 0.
template <typename Masks = Exact, typename T, typename S>
GENIMG_HD T low_product(T l, int last, int overlap, S inverse_width) {
  T product = low<Masks>(l + S(last), inverse_width);
  for (int j = last - 1; j >= 0 && j > last - overlap; --j) product = product * low<Masks>(l + S(j), inverse_width);
  return product;
}

template <typename Masks = Exact, typename T, typename S>
GENIMG_HD T band_radial(T l, int level, int overlap, S inverse_width) {
  return low_product<Masks>(l, level, overlap, inverse_width) * high<Masks>(l + S(level + 1), inverse_width);
}

// base^exponent for 0 <= exponent <= 15; 0^0 = 1. Without a loop, so that loops around it can be vectorised.
template <typename T>
GENIMG_HD T power(T base, int exponent) {
  using S = typename Lanes<T>::scalar;
  const T one = base * S(0) + S(1), base2 = base * base, base4 = base2 * base2, base8 = base4 * base4;
  return ((exponent & 1) != 0 ? base : one) * ((exponent & 2) != 0 ? base2 : one) *
         (((exponent & 4) != 0 ? base4 : one) * ((exponent & 8) != 0 ? base8 : one));
}

// ---------------------------------------------------------------------------------------------------------------------
// Whole masks at one frequency, for scalar loops on host and device
// ---------------------------------------------------------------------------------------------------------------------

// What the masks need to know of a pyramid, copied by value to kernels; masks.h fills it in. S is float or double.
template <typename S>
struct MaskParameters {
  int64_t height, width;   // of the image
  S step_x, step_y;        // 2 / width, 2 / height: one index, where half the sampling rate is 1
  S inverse_width, gain;   // 1 / twidth; c of the angular function c cos^order
  S cosine[16], sine[16];  // of the angles pi b / orientations
  int levels, order, overlap;
  int oversampling;
  bool analytic;
};

// Height or width of a level: it halves, rounded up, with each; `oversampling` is in octaves.
GENIMG_HD int64_t level_length(int64_t length, int level, int oversampling) {
  const int halvings = level > oversampling ? level - oversampling : 0;
  return (length + (int64_t(1) << halvings) - 1) >> halvings;
}

// Index k, negative ones included, among the `length` coefficients of a DFT.
GENIMG_HD int64_t signed_index(int64_t k, int64_t length) { return 2 * k < length ? k : k - length; }

// Where the frequency (kx, ky) of the image, kx >= 0, stands in the half spectrum of a level.
struct Place {
  bool inside;           // does the level have it?
  bool at_nyquist;       // at half the level's sampling rate: bands and lowpass residual are 0 there
  int64_t row, columns;  // it is at row * columns + kx
};
GENIMG_HD Place place_of(int64_t kx, int64_t ky, int64_t level_height, int64_t level_width) {
  const int64_t magnitude = ky < 0 ? -ky : ky;
  return {2 * kx <= level_width && 2 * ky < level_height && -2 * ky <= level_height,
          2 * kx == level_width || 2 * magnitude == level_height, ky < 0 ? ky + level_height : ky, level_width / 2 + 1};
}

// Where a frequency lies, as the masks need it: log2 of its radius, and its direction as a unit vector or as an angle
// in steps of pi/1024.
template <typename Masks, typename S>
struct Polar;
template <typename S>
struct Polar<Exact, S> {
  S log_radius, cosine, sine;
};
template <typename S>
struct Polar<Table, S> {
  S log_radius, angle;
};

// DC has radius 0.
template <typename S>
GENIMG_HD void locate(const MaskParameters<S>& p, int64_t kx, int64_t ky, Polar<Exact, S>& at) {
  const S x = S(kx) * p.step_x, y = S(ky) * p.step_y, square = x * x + y * y;
  const bool dc = kx == 0 && ky == 0;
  const S inverse_radius = dc ? S(0) : S(1) / S(sqrt(square));
  at = {dc ? S(-1e9) : S(0.5) * log2_of(square), dc ? S(1) : x * inverse_radius, y * inverse_radius};
}

// pyrtools has DC between two samples of its grid where the size is odd, and gives it the radius of its neighbour to
// the left.
template <typename S>
GENIMG_HD void locate(const MaskParameters<S>& p, int64_t kx, int64_t ky, Polar<Table, S>& at) {
  const S x = (S(kx) - S(0.5) * S(p.width % 2)) * p.step_x, y = (S(ky) - S(0.5) * S(p.height % 2)) * p.step_y;
  const S radius_x = kx == 0 && ky == 0 ? x - p.step_x : x;
  at = {S(0.5) * log2_of(radius_x * radius_x + y * y), S(atan2(y, x)) * S(1024 / 3.14159265358979323846)};
}

// The factors of one frequency for a band and for its Hilbert transform, both real. A coefficient of the band is the
// image's times band * (-i)^order, of its Hilbert transform times hilbert * (-i)^(order + 1): rotate below.
template <typename S>
struct Oriented {
  S band, hilbert;
};

template <typename S>
GENIMG_HD S sign_of(S x) {
  return x > S(0) ? S(1) : x < S(0) ? S(-1) : S(0);
}

// cos(pi k / 1024) for |k| <= 1024, exactly 0 at 512.
template <typename S>
GENIMG_HD S cosine_sample(S k) {
  const S x = S(1) - S(fabs(k)) / S(512);
  return sign_of(x) * sine_quarter(S(fabs(x)));
}

// c cos^order(angle - that of the orientation), and the same times the sign of the cosine.
template <typename S>
GENIMG_HD Oriented<S> angular(const MaskParameters<S>& p, const Polar<Exact, S>& at, int orientation) {
  const S cosine = at.cosine * p.cosine[orientation] + at.sine * p.sine[orientation];
  const S band = p.gain * power(cosine, p.order);
  return {band, sign_of(cosine) * band};
}
template <typename S>
GENIMG_HD Oriented<S> angular(const MaskParameters<S>& p, const Polar<Table, S>& at, int orientation) {
  const S difference = at.angle - S(1024) * S(orientation) / S(p.order + 1);
  const S position = difference < S(-1024) ? difference + S(2048) : difference, k = S(floor(position));
  const S left = cosine_sample(k), right = cosine_sample(k + 1);
  const S band_left = p.gain * power(left, p.order), band_right = p.gain * power(right, p.order);
  return {between(band_left, band_right, position - k),
          between(sign_of(left) * band_left, sign_of(right) * band_right, position - k)};
}

// All masks at the frequency (kx, ky). pyrtools takes the real part of each inverse transform, which is that of the
// mask's Hermitian part: where its grid is off-centre, (mask(k) + conj(mask(-k))) / 2.
template <typename Masks, typename S>
struct MasksAt {
  const MaskParameters<S>& p;
  Polar<Masks, S> here, opposite;

  GENIMG_HD MasksAt at(const MaskParameters<S>& p, int64_t kx, int64_t ky) {
    Polar<Masks, S> here, opposite;
    locate(p, kx, ky, here);
    if constexpr (!Masks::is_table) return {p, here, here};
    locate(p, -kx, -ky, opposite);
    return {p, here, opposite};
  }
};

template <typename Masks, typename S>
GENIMG_HD S highpass_mask(const MasksAt<Masks, S>& at) {
  const S here = high<Masks>(at.here.log_radius, at.p.inverse_width);
  if constexpr (!Masks::is_table) return here;
  return S(0.5) * (here + high<Masks>(at.opposite.log_radius, at.p.inverse_width));
}

template <typename Masks, typename S>
GENIMG_HD S lowpass_mask(const MasksAt<Masks, S>& at) {
  const MaskParameters<S>& p = at.p;
  const S here = low_product<Masks>(at.here.log_radius, p.levels, p.overlap, p.inverse_width);
  if constexpr (!Masks::is_table) return here;
  return S(0.5) * (here + low_product<Masks>(at.opposite.log_radius, p.levels, p.overlap, p.inverse_width));
}

// The radial part of a level's bands, the same for all orientations: at the frequency and at its opposite.
template <typename S>
struct Radial {
  S here, opposite;
};
template <typename Masks, typename S>
GENIMG_HD Radial<S> radial_mask(const MasksAt<Masks, S>& at, int level) {
  const MaskParameters<S>& p = at.p;
  const S here = band_radial<Masks>(at.here.log_radius, level, p.overlap, p.inverse_width);
  if constexpr (!Masks::is_table) return {here, here};
  return {here, band_radial<Masks>(at.opposite.log_radius, level, p.overlap, p.inverse_width)};
}

template <typename Masks, typename S>
GENIMG_HD Oriented<S> oriented_mask(const MasksAt<Masks, S>& at, const Radial<S>& radial, int orientation) {
  const MaskParameters<S>& p = at.p;
  const Oriented<S> here = angular(p, at.here, orientation);
  if constexpr (!Masks::is_table) return {radial.here * here.band, radial.here * here.hilbert};
  const Oriented<S> opposite = angular(p, at.opposite, orientation);
  const S parity = p.order % 2 == 0 ? S(1) : S(-1);
  const S a = radial.here * (here.band + (p.analytic ? here.hilbert : S(0)));
  const S b = parity * radial.opposite * (opposite.band + (p.analytic ? opposite.hilbert : S(0)));
  return {S(0.5) * (a + b), S(0.5) * (a - b)};
}

// What the squared masks of a level's real bands add up to, as a quadratic form in the radial factors at the frequency
// and at its opposite.
template <typename S>
struct AngularPower {
  S here, mixed, opposite;
};
template <typename S>
GENIMG_HD AngularPower<S> angular_power(const MasksAt<Table, S>& at) {
  const S half = S(0.5), half_parity = at.p.order % 2 == 0 ? half : -half;
  AngularPower<S> sum = {S(0), S(0), S(0)};
  for (int b = 0; b <= at.p.order; ++b) {
    const S here = half * angular(at.p, at.here, b).band, opposite = half_parity * angular(at.p, at.opposite, b).band;
    sum = {sum.here + here * here, sum.mixed + S(2) * here * opposite, sum.opposite + opposite * opposite};
  }
  return sum;
}

// The squared masks of the real bands of a level and all later ones and of the lowpass residual, added up. That is the
// square of the lowpass filters up to the level; interpolated masks miss it by what interpolation loses.
template <typename S>
GENIMG_HD S reconstruction_mask(const MasksAt<Exact, S>& at, int level) {
  const S product = low_product(at.here.log_radius, level, at.p.overlap, at.p.inverse_width);
  return product * product;
}
template <typename S>
GENIMG_HD S reconstruction_mask(const MasksAt<Table, S>& at, int level) {
  const AngularPower<S> power = angular_power(at);
  const S lowpass = lowpass_mask(at);
  S sum = lowpass * lowpass;
  for (int i = level; i < at.p.levels; ++i) {
    const Radial<S> r = radial_mask(at, i);
    sum += r.here * (r.here * power.here + r.opposite * power.mixed) + r.opposite * r.opposite * power.opposite;
  }
  return sum;
}

template <typename S>
struct Complex {
  S re, im;
};

// z * (-i)^quarters; the adjoint map turns back: quarters of the other sign.
template <typename S>
GENIMG_HD Complex<S> rotate(Complex<S> z, int quarters) {
  switch (quarters & 3) {
    case 0:
      return z;
    case 1:
      return {z.im, -z.re};
    case 2:
      return {-z.re, -z.im};
    default:
      return {-z.im, z.re};
  }
}

}  // namespace genimg::steerable
