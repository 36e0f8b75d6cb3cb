// The mathematics of views and of a sampler's step, for the host, for every instruction set and for CUDA.
//
// A view is a signed permutation, out[c, p] = sign_c in[channel_c, src(p)] with p = (y, x).
#pragma once

#include <stdint.h>

#include "common/half.h"
#include "common/host_device.h"

namespace genimg::multiview {

// ---- views

enum Kind : int32_t {
  kAffine = 0,  // src = (p0 y + p1 x + p2, p3 y + p4 x + p5), coefficients -1, 0 or 1
  kRoll = 1,    // src = ((y - table[x]) mod H, x), entries of the table in [0, H)
  kCircle = 2,  // turned by 180 degrees where 16 ((2x + 1 - W)^2 + (2y + 1 - H)^2) < 9 p0^2
  kHinge = 3,  // 3 x 3 squares of side p0, turned by 90 degrees in turn; p1 = 1: the first clockwise, -1: the other way
  kStored = 4,  // src = table[y W + x] = y' W + x'
};

constexpr int kParameters = 6;

struct View {
  int32_t kind;
  int32_t p[kParameters];
  const int32_t* table;  // of kRoll and kStored
  const int32_t*
      channels;  // channel c comes from |channels[c]| - 1, with the sign of channels[c]; null: all as they are
};

// Row and column of a source, as y W + x.
GENIMG_HD int32_t affine_source(const int32_t* p, int32_t y, int32_t x, int32_t width) {
  return (p[0] * y + p[1] * x + p[2]) * width + p[3] * y + p[4] * x + p[5];
}

GENIMG_HD int32_t roll_source(const int32_t* table, int32_t y, int32_t x, int32_t height, int32_t width) {
  const int32_t row = y - table[x];
  return (row < 0 ? row + height : row) * width + x;
}

GENIMG_HD int32_t circle_source(int64_t side, int32_t y, int32_t x, int32_t height, int32_t width) {
  const int64_t dy = 2 * y + 1 - height, dx = 2 * x + 1 - width;
  const int32_t here = y * width + x;
  return 16 * (dx * dx + dy * dy) < 9 * side * side ? height * width - 1 - here : here;
}

GENIMG_HD int32_t hinge_source(int32_t side, int32_t turn, int32_t y, int32_t x, int32_t width) {
  const int32_t i = y / side, j = x / side;
  if (i > 2 || j > 2) return y * width + x;
  const int32_t dy = y - i * side, dx = x - j * side;
  const bool clockwise = ((i + j) % 2 == 0) == (turn > 0);
  const int32_t sy = clockwise ? side - 1 - dx : dx, sx = clockwise ? dy : side - 1 - dy;
  return (i * side + sy) * width + j * side + sx;
}

GENIMG_HD int32_t source(const View& view, int32_t y, int32_t x, int32_t height, int32_t width) {
  switch (view.kind) {
    case kAffine:
      return affine_source(view.p, y, x, width);
    case kRoll:
      return roll_source(view.table, y, x, height, width);
    case kCircle:
      return circle_source(view.p[0], y, x, height, width);
    case kHinge:
      return hinge_source(view.p[0], view.p[1], y, x, width);
    default:
      return view.table[y * width + x];
  }
}

// Rows run along the columns of the source: a quarter turn or a transpose.
GENIMG_HD bool is_transposed(const View& view) { return view.kind == kAffine && view.p[0] == 0; }
GENIMG_HD bool is_by_rows(const View& view) { return view.kind == kAffine && view.p[0] != 0; }

GENIMG_HD int32_t channel_source(const View& view, int32_t channel) {
  if (view.channels == nullptr) return channel;
  const int32_t entry = view.channels[channel];
  return (entry < 0 ? -entry : entry) - 1;
}
GENIMG_HD int32_t channel_sign(const View& view, int32_t channel) {
  return view.channels != nullptr && view.channels[channel] < 0 ? -1 : 1;
}

// ---- a step

// e^x by a polynomial that has the same bits everywhere: x = n ln 2 + r, |r| <= ln 2 / 2; error under 2 units of the
// last place. Beyond -87.3 and 88.3 it stays what it is there: 1.2e-38 and 2.2e38. V: float, or a vector of it, and U
// the integers of its bits.
template <typename U, typename V>
GENIMG_HD V exponential_as(V x) {
  const V high = V{} + 88.3f, low = V{} - 87.3f, magic = V{} + 12582912.0f;
  const V below = x > high ? high : x, inside = below < low ? low : below;
  const V shifted = inside * 1.44269504f + magic;  // 1.5 * 2^23: the sum's last bits are the nearest integer
  const V n = shifted - magic;
  const V r = (inside - n * 0.693145752f) - n * 1.42860677e-6f;
  V sum = r * 1.38888889e-3f + 8.33333333e-3f;
  sum = sum * r + 4.16666667e-2f;
  sum = sum * r + 1.66666667e-1f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  U power, bits;
  __builtin_memcpy(&power, &shifted, sizeof power);
  __builtin_memcpy(&bits, &sum, sizeof bits);
  bits += power << 23;  // times 2^n
  __builtin_memcpy(&sum, &bits, sizeof bits);
  return sum;
}
GENIMG_HD float exponential(float x) { return exponential_as<uint32_t>(x); }
GENIMG_HD double exponential(double x) { return __builtin_exp(x); }

// The model's guided prediction: u + g (c - u). V: R, or a vector of it.
template <typename R, typename V>
GENIMG_HD V guided(V unconditional, V conditional, R guidance) {
  return unconditional + guidance * (conditional - unconditional);
}

// One step of a sampler, whatever its scheduler and the model's kind of prediction m: with x0 = clip(x0_from_x x +
// x0_from_m m), the clean picture it expects,
//   x' = from_x x + from_x0 x0 + from_m m + deviation z, deviation = deviation or exp(log_deviation + log_slope v)
// with the learned variance v. V: R, or a vector of it.
template <typename R>
struct Step {
  R x0_from_x, x0_from_m;
  R from_x, from_x0, from_m;
  R deviation, log_deviation, log_slope;
};

template <typename R>
GENIMG_HD Step<R> converted(const Step<double>& k) {
  return {R(k.x0_from_x), R(k.x0_from_m), R(k.from_x),        R(k.from_x0),
          R(k.from_m),    R(k.deviation), R(k.log_deviation), R(k.log_slope)};
}

template <typename R, typename V>
GENIMG_HD V expected(const Step<R>& k, V x, V m) {
  return k.x0_from_x * x + k.x0_from_m * m;
}

// limit: at most so large; then times scale. NaN stays.
template <typename V>
GENIMG_HD V clipped(V x0, V limit, V scale) {
  const V above = x0 > limit ? limit : x0;
  return (above < -limit ? -limit : above) * scale;
}

template <typename R>
GENIMG_HD R learned_deviation(const Step<R>& k, R v) {
  return exponential(k.log_deviation + k.log_slope * v);
}

template <typename R, typename V>
GENIMG_HD V previous(const Step<R>& k, V x, V m, V x0, V noise) {
  return k.from_x * x + k.from_x0 * x0 + k.from_m * m + noise;
}

}  // namespace genimg::multiview
