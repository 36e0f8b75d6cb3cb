#include "multiview/kernels.h"

#include "common/simd.h"
#include "common/transpose.h"

namespace genimg::multiview::GENIMG_ISA {
namespace {

// ---- sources

template <typename Source>
GENIMG_HD void fill(const Tile& tile, int32_t* indices, Source source_of) {
  for (int32_t r = 0; r < tile.rows; ++r)
    for (int32_t j = 0; j < tile.columns; ++j) indices[r * tile.columns + j] = source_of(tile.y + r, tile.x + j);
}

void sources(const View& view, int32_t height, int32_t width, const Tile& tile, int32_t* indices) {
  // One loop for each kind: within it nothing is chosen, so it vectorises.
  if (view.kind == kRoll)
    return fill(tile, indices, [&](int32_t y, int32_t x) { return roll_source(view.table, y, x, height, width); });
  if (view.kind == kStored) return fill(tile, indices, [&](int32_t y, int32_t x) { return view.table[y * width + x]; });
  fill(tile, indices, [&](int32_t y, int32_t x) { return source(view, y, x, height, width); });
}

// ---- what is gathered, and what becomes of it

template <typename T>
struct Plain {
  using R = typename Real<T>::type;
  const T* c;
  R weight;
  GENIMG_HD R at(const Plain& p, int64_t i) { return p.weight * Real<T>::from(p.c[i]); }
};

template <typename T>
struct Guided {
  using R = typename Real<T>::type;
  const T *u, *c;
  R guidance, weight;
  GENIMG_HD R at(const Guided& p, int64_t i) {
    return p.weight * guided(Real<T>::from(p.u[i]), Real<T>::from(p.c[i]), p.guidance);
  }
};

template <typename R>
struct Set {
  GENIMG_HD void put(R* to, R value) { *to = value; }
};
template <typename R>
struct Add {
  GENIMG_HD void put(R* to, R value) { *to += value; }
};
template <typename T>
struct Store {
  GENIMG_HD void put(T* to, typename Real<T>::type value) { *to = Real<T>::to(value); }
};

// A quarter turn: squares of the source, row by row, are transposed.
template <typename Put, typename In, typename To>
void turn(const Gather& gather, const In& in, To* to, int64_t stride) {
  using R = typename In::R;
  constexpr int n = Vector<R>::lanes;
  alignas(64) R rows[n * n], columns[n * n];
  const Tile& tile = gather.tile;
  const int32_t* const p = gather.view->p;
  const bool rises = p[3] > 0;
  for (int32_t r = 0; r < tile.rows; r += n)
    for (int32_t j = 0; j < tile.columns; j += n) {
      const int height = tile.rows - r < n ? tile.rows - r : n, width = tile.columns - j < n ? tile.columns - j : n;
      const int32_t first = rises ? tile.y + r : tile.y + r + height - 1;  // at the least column of the source
      for (int b = 0; b < width; ++b) {
        const int64_t from = affine_source(p, first, tile.x + j + b, gather.width);
        for (int a = 0; a < height; ++a) rows[b * n + a] = In::at(in, from + a);
      }
      transpose(rows, n, columns, n);
      for (int a = 0; a < height; ++a) {
        To* const row = to + (r + (rises ? a : height - 1 - a)) * stride + j;
        for (int b = 0; b < width; ++b) Put::put(row + b, columns[a * n + b]);
      }
    }
}

template <typename Put, typename In, typename To>
void move(const Gather& gather, const In& in, To* to, int64_t stride) {
  const Tile& tile = gather.tile;
  if (gather.indices != nullptr) {
    for (int32_t r = 0; r < tile.rows; ++r) {
      const int32_t* const indices = gather.indices + r * tile.columns;
      To* const row = to + r * stride;
      for (int32_t j = 0; j < tile.columns; ++j) Put::put(row + j, In::at(in, indices[j]));
    }
    return;
  }
  if (is_transposed(*gather.view)) return turn<Put>(gather, in, to, stride);
  const bool rises = gather.view->p[4] > 0;
  for (int32_t r = 0; r < tile.rows; ++r) {
    const int64_t from = affine_source(gather.view->p, tile.y + r, tile.x, gather.width);
    To* const row = to + r * stride;
    if (rises)
      for (int32_t j = 0; j < tile.columns; ++j) Put::put(row + j, In::at(in, from + j));
    else
      for (int32_t j = 0; j < tile.columns; ++j) Put::put(row + j, In::at(in, from - j));
  }
}

template <typename T>
void copy(const Gather& gather, const T* in, typename Real<T>::type factor, T* out) {
  T* const to = out + gather.tile.y * static_cast<int64_t>(gather.width) + gather.tile.x;
  move<Store<T>>(gather, Plain<T>{in, factor}, to, gather.width);
}

template <typename T, typename R>
void add(const Gather& gather, const T* u, const T* c, R guidance, R weight, bool is_first, R* sums) {
  const int32_t stride = gather.tile.columns;
  if (u == nullptr && is_first) return move<Set<R>>(gather, Plain<T>{c, weight}, sums, stride);
  if (u == nullptr) return move<Add<R>>(gather, Plain<T>{c, weight}, sums, stride);
  const Guided<T> both{u, c, guidance, weight};
  if (is_first) return move<Set<R>>(gather, both, sums, stride);
  move<Add<R>>(gather, both, sums, stride);
}

// ---- the step

template <typename Put, typename T, typename R>
GENIMG_HD void put_expected(const Step<R>& k, const T* x, const R* m, R limit, R scale, R weight, int64_t n, R* x0) {
  for (int64_t i = 0; i < n; ++i)
    Put::put(x0 + i, weight * clipped(expected(k, Real<T>::from(x[i]), m[i]), limit, scale));
}

template <typename T, typename R>
void add_expected(const Step<R>& k, const T* x, const R* m, R limit, R scale, R weight, bool is_first, int64_t n,
                  R* x0) {
  const Step<R> step = k;  // a copy that no store can change
  if (is_first) return put_expected<Set<R>>(step, x, m, limit, scale, weight, n, x0);
  put_expected<Add<R>>(step, x, m, limit, scale, weight, n, x0);
}

template <typename R>
void add_deviation(const Step<R>& k, const R* v, R weight, bool is_first, int64_t n, R* deviation) {
  const Step<R> step = k;
  for (int64_t i = 0; i < n; ++i) {
    const R one = weight * learned_deviation(step, v[i]);
    deviation[i] = is_first ? one : deviation[i] + one;
  }
}

// Expected and Noise: the i-th x0 and the i-th noise with its deviation.
template <typename T, typename Rows, typename R, typename Expected, typename Noise>
GENIMG_HD void write(const Step<R>& k, const Rows& rows, int64_t n, Expected expected_at, Noise noise_at) {
  const T* const x = rows.x;
  const R* const m = rows.m;
  T* const out = rows.out;
  for (int64_t i = 0; i < n; ++i) {
    const R here = Real<T>::from(x[i]);
    out[i] = Real<T>::to(previous(k, here, m[i], expected_at(here, i), noise_at(i)));
  }
}

template <typename T, typename Rows, typename R, typename Noise>
GENIMG_HD void write_expected(const Step<R>& k, const Rows& rows, R limit, R scale, int64_t n, Noise noise_at) {
  const R *const m = rows.m, *const x0 = rows.x0;
  if (x0 != nullptr) return write<T>(k, rows, n, [=](R, int64_t i) { return x0[i]; }, noise_at);
  write<T>(k, rows, n, [=](R x, int64_t i) { return clipped(expected(k, x, m[i]), limit, scale); }, noise_at);
}

template <typename T, typename R>
void finish(const Step<R>& step, const typename Kernels<T>::Rows& given, R limit, R scale, int64_t n) {
  const Step<R> k = step;
  const auto rows = given;
  const T* const noise = rows.noise;
  const R *const variance = rows.variance, *const deviation = rows.deviation;
  if (noise == nullptr) return write_expected<T>(k, rows, limit, scale, n, [](int64_t) { return R(0); });
  if (variance != nullptr)
    return write_expected<T>(k, rows, limit, scale, n,
                             [=](int64_t i) { return learned_deviation(k, variance[i]) * Real<T>::from(noise[i]); });
  if (deviation != nullptr)
    return write_expected<T>(k, rows, limit, scale, n,
                             [=](int64_t i) { return deviation[i] * Real<T>::from(noise[i]); });
  write_expected<T>(k, rows, limit, scale, n, [=](int64_t i) { return k.deviation * Real<T>::from(noise[i]); });
}

template <typename T, typename R>
void convert(const R* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = Real<T>::to(from[i]);
}

template <typename T>
constexpr Kernels<T> table() {
  using R = typename Real<T>::type;
  return {&copy<T>, &add<T, R>, &add_expected<T, R>, &add_deviation<R>, &finish<T, R>, &convert<T, R>};
}

}  // namespace

extern const Kernels<float> float_kernels = table<float>();
extern const Kernels<double> double_kernels = table<double>();
extern const Kernels<Half> half_kernels = table<Half>();
extern const Kernels<BFloat> bfloat_kernels = table<BFloat>();
extern const FindSources find_sources = &sources;

}  // namespace genimg::multiview::GENIMG_ISA
