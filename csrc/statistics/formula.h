// The mathematics of the statistics, once, for the CPU and for CUDA.
//
// A coefficient of an analytic subband is z = r exp(i t). What a texture model compares across scales is the magnitude
// r and, because the phase of a coarser scale turns half as fast, the coefficient with its phase doubled, r exp(2 i t)
// = z^2 / |z| (J. Portilla, E. Simoncelli, IJCV 2000, section 2.2). Both are 0 where z is, and so is their gradient.
// T is float, double or, on the CPU, a vector of them (formula_simd.h).
#pragma once

#include <math.h>
#include <stdint.h>

#include "common/host_device.h"

namespace genimg::statistics {

template <typename T>
struct Complex {
  T re, im;
};

// r, and the direction z / r, which is 0 where z is.
template <typename T>
struct Polar {
  T magnitude;
  Complex<T> direction;
};

GENIMG_HD float root(float x) { return sqrtf(x); }
GENIMG_HD double root(double x) { return sqrt(x); }

// Smaller squares have lost digits: a z whose |z|^2 is below the smallest normal number counts as 0.
GENIMG_HD float smallest_square(float) { return 0x1p-126f; }
GENIMG_HD double smallest_square(double) { return 0x1p-1022; }

template <typename T>
GENIMG_HD Polar<T> polar(Complex<T> z) {
  const T square = z.re * z.re + z.im * z.im;
  const auto is_zero = square < smallest_square(square);
  const T r = is_zero ? T{} : root(square);
  const T inverse = is_zero ? T{} : 1 / r;
  return {r, {z.re * inverse, z.im * inverse}};
}

template <typename T>
GENIMG_HD Complex<T> times(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// z with its phase doubled.
template <typename T>
GENIMG_HD Complex<T> doubled(Polar<T> z) {
  const Complex<T> square = times(z.direction, z.direction);
  return {z.magnitude * square.re, z.magnitude * square.im};
}

// The gradient with respect to z of a function whose gradient with respect to r is `magnitude` and with respect to
// r exp(2 i t) is g: with p = conj(g) exp(2 i t), exp(i t) (magnitude + Re p - 2 i Im p).
template <typename T>
GENIMG_HD Complex<T> gradient(Polar<T> z, T magnitude, Complex<T> g) {
  const Complex<T> p = times(Complex<T>{g.re, -g.im}, times(z.direction, z.direction));
  return times(z.direction, Complex<T>{magnitude + p.re, -(p.im + p.im)});
}

// index modulo n, for -n <= index < 2 n.
GENIMG_HD int64_t wrapped(int64_t index, int64_t n) { return index < 0 ? index + n : (index >= n ? index - n : index); }

}  // namespace genimg::statistics
