// The arithmetic of the Gram family, for the host and for CUDA.
#pragma once

#include <stdint.h>

#include "common/half.h"

namespace genimg::gram {

// sum f^2 (x - m) (y - n) from sums about a pivot: products = sum f^2 (x - c) (y - d), x_sum = sum f^2 (x - c), y_sum
// likewise, total = sum f^2. The pivots keep the difference from cancelling where the means are large.
GENIMG_HD double centered(double products, double x_sum, double y_sum, double total) {
  return total > 0 ? products - x_sum * y_sum / total : 0;
}

}  // namespace genimg::gram
