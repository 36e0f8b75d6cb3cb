// The schemas of the Gram operators.
//
// x, y: feature maps (batch, channels, rows, columns) of any strides, one dtype; y shares all but the channels with x.
// factors: what each pixel is multiplied by, contiguous (batch or 1, rows, columns) of the result's dtype. Results are
// float32 for half types and float32, float64 for float64; gram_apply takes float32 and float64. tf32: on CUDA, float32
// features may be rounded to 10 bits of mantissa for the tensor cores.
// gram_moments gives the centred Gram matrices of x and the means. gram_difference gives the Gram matrices of x
// less target, contiguous (batch or 1, channels, channels) of the result's dtype, and for each of the batch the sums of
// its squares and of its absolute values, (batch, 2).
#pragma once

#define GENIMG_GRAM_SCHEMAS(m)                                                                                   \
  m.def(                                                                                                         \
      "gram_product(Tensor x, Tensor? y, Tensor? factors, bool center, float scale, bool tf32=False) -> "        \
      "Tensor");                                                                                                 \
  m.def("gram_moments(Tensor x, Tensor? factors, float scale, bool tf32=False) -> (Tensor, Tensor)");            \
  m.def(                                                                                                         \
      "gram_difference(Tensor x, Tensor target, Tensor? factors, bool center, float scale, bool tf32=False) -> " \
      "(Tensor, Tensor)");                                                                                       \
  m.def(                                                                                                         \
      "gram_apply(Tensor matrix, Tensor x, Tensor? factors, bool center, bool rectified, float scale, "          \
      "bool tf32=False) -> Tensor")
