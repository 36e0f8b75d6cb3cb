// The 16-bit floating types and their numbers, for the host and for CUDA.
#pragma once

#include <stdint.h>

#include "common/host_device.h"

namespace genimg {

// The 16-bit floating types, by their bits.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

GENIMG_HD uint32_t bits_of_float(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

GENIMG_HD float float_of_bits(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// A half's exponent is moved to where float has it by a product, which makes its denormals right too.
GENIMG_HD float half_to_float(uint16_t half) {
  const uint32_t bits = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
  const float finite = float_of_bits(bits) * 0x1p112f;
  return float_of_bits(((half & 0x7c00u) == 0x7c00u ? bits | 0x7f800000u : bits_of_float(finite)) | sign);
}

GENIMG_HD float bfloat_to_float(uint16_t bfloat) { return float_of_bits(static_cast<uint32_t>(bfloat) << 16); }

// To the nearest, ties to even; from 65520 on infinity. A normal half takes the upper bits of the float with its
// exponent moved; a number below 2^-14 is rounded by the addition of a float whose last bit is the denormals' 2^-24.
GENIMG_HD uint16_t float_to_half(float x) {
  const uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  const uint32_t normal = (size + 0xfffu + (size >> 13 & 1u) - (112u << 23)) >> 13;
  const uint32_t denormal = bits_of_float(float_of_bits(size) + 0.5f) - bits_of_float(0.5f);
  const uint32_t finite = size < (113u << 23) ? denormal : normal;
  const uint32_t infinite = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
  return static_cast<uint16_t>((size >= 0x477ff000u ? infinite : finite) | sign);
}

GENIMG_HD uint16_t float_to_bfloat(float x) {
  const uint32_t bits = bits_of_float(x);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

// What a number of type T is computed in, and the way there and back.
template <typename T>
struct Real {
  using type = T;
  GENIMG_HD T from(T x) { return x; }
  GENIMG_HD T to(T x) { return x; }
};
template <>
struct Real<Half> {
  using type = float;
  GENIMG_HD float from(Half x) { return half_to_float(x.bits); }
  GENIMG_HD Half to(float x) { return {float_to_half(x)}; }
};
template <>
struct Real<BFloat> {
  using type = float;
  GENIMG_HD float from(BFloat x) { return bfloat_to_float(x.bits); }
  GENIMG_HD BFloat to(float x) { return {float_to_bfloat(x)}; }
};

}  // namespace genimg
