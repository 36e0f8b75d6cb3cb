// The arithmetic of the Gram family, for the host and for CUDA.
#pragma once

#include <stdint.h>

#include "common/host_device.h"

namespace genimg::gram {

// The 16-bit floating types, by their bits.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

GENIMG_HD float float_of_bits(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// A half's exponent is moved to where float has it by a product, which makes its denormals right too.
GENIMG_HD float half_to_float(uint16_t half) {
  const uint32_t bits = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
  const float finite = float_of_bits(bits) * 0x1p112f;
  uint32_t result;
  __builtin_memcpy(&result, &finite, sizeof result);
  return float_of_bits(((half & 0x7c00u) == 0x7c00u ? bits | 0x7f800000u : result) | sign);
}

GENIMG_HD float bfloat_to_float(uint16_t bfloat) { return float_of_bits(static_cast<uint32_t>(bfloat) << 16); }

// sum f^2 (x - m) (y - n) from sums about a pivot: products = sum f^2 (x - c) (y - d), x_sum = sum f^2 (x - c), y_sum
// likewise, total = sum f^2. The pivots keep the difference from cancelling where the means are large.
GENIMG_HD double centered(double products, double x_sum, double y_sum, double total) {
  return total > 0 ? products - x_sum * y_sum / total : 0;
}

}  // namespace genimg::gram
