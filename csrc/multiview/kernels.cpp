#include "multiview/kernels.h"

#include "common/simd.h"
#include "common/transpose.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
  if (view.kind == kStored) return fill(tile, indices, [&](int32_t y, int32_t x) { return view.table[y * width + x]; });
  fill(tile, indices, [&](int32_t y, int32_t x) { return source(view, y, x, height, width); });
}

// ---- what is gathered, and what becomes of it

template <typename R>
using VectorOf = typename Vector<R>::type;

template <typename V, int... I>
GENIMG_HD V backwards(V v, detail::Indices<I...>) {
  return __builtin_shufflevector(v, v, (static_cast<int>(sizeof...(I)) - 1 - I)...);
}

// A vector of numbers that lie from p on, or from p on backwards.
template <int direction, typename T>
GENIMG_HD VectorOf<typename Real<T>::type> reals(const T* p) {
  using R = typename Real<T>::type;
  using V = VectorOf<R>;
  constexpr int n = Vector<R>::lanes;
  const T* const first = direction > 0 ? p : p - (n - 1);
  V v;
  if constexpr (sizeof(T) == sizeof(R)) {
    v = load<V>(first);
  } else {
    R numbers[n];
    for (int k = 0; k < n; ++k) numbers[k] = Real<T>::from(first[k]);
    v = load<V>(numbers);
  }
  if constexpr (direction < 0) v = backwards(v, detail::All<V>());
  return v;
}

// The line of the cache at p will be read soon: the processor's own prefetch ends with each short run.
GENIMG_HD void fetch(const void* p) { __builtin_prefetch(p, 0, 2); }

template <typename T>
struct Plain {
  using R = typename Real<T>::type;
  const T* c;
  R weight;
  GENIMG_HD R at(const Plain& p, int64_t i) { return p.weight * Real<T>::from(p.c[i]); }
  template <int direction>
  GENIMG_HD VectorOf<R> from(const Plain& p, int64_t i, int64_t ahead) {
    fetch(p.c + i + direction * ahead);
    return p.weight * reals<direction>(p.c + i);
  }
};

template <typename T>
struct Guided {
  using R = typename Real<T>::type;
  const T *u, *c;
  R guidance, weight;
  GENIMG_HD R at(const Guided& p, int64_t i) {
    return p.weight * guided(Real<T>::from(p.u[i]), Real<T>::from(p.c[i]), p.guidance);
  }
  template <int direction>
  GENIMG_HD VectorOf<R> from(const Guided& p, int64_t i, int64_t ahead) {
    fetch(p.u + i + direction * ahead);
    fetch(p.c + i + direction * ahead);
    return p.weight * guided<R>(reals<direction>(p.u + i), reals<direction>(p.c + i), p.guidance);
  }
};

template <typename R>
struct Set {
  GENIMG_HD void put(R* to, R value) { *to = value; }
  GENIMG_HD void put_vector(R* to, VectorOf<R> v) { store(to, v); }
};
template <typename R>
struct Add {
  GENIMG_HD void put(R* to, R value) { *to += value; }
  GENIMG_HD void put_vector(R* to, VectorOf<R> v) { store(to, load<VectorOf<R>>(to) + v); }
};
template <typename T>
struct Store {
  using R = typename Real<T>::type;
  GENIMG_HD void put(T* to, R value) { *to = Real<T>::to(value); }
  GENIMG_HD void put_vector(T* to, VectorOf<R> v) {
    constexpr int n = Vector<R>::lanes;
    if constexpr (sizeof(T) == sizeof(R)) return store(to, v);
    R numbers[n];
    T converted[n];
    store(numbers, v);
    for (int k = 0; k < n; ++k) converted[k] = Real<T>::to(numbers[k]);
    __builtin_memcpy(to, converted, sizeof converted);
  }
};

// Past the caches, which a result larger than they are would only empty.
GENIMG_HD void stream(float* to, VectorOf<float> v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(to, (__m256)v);
#elif defined(__x86_64__)
  _mm_stream_ps(to, (__m128)v);
#else
  store(to, v);
#endif
}
template <typename T, typename V>
GENIMG_HD void stream(T* to, V v) {
  store(to, v);
}

template <typename T>
struct Stream {
  using R = typename Real<T>::type;
  GENIMG_HD void put(T* to, R value) { *to = Real<T>::to(value); }
  GENIMG_HD void put_vector(T* to, VectorOf<R> v) {
    if constexpr (sizeof(T) == sizeof(R))
      stream(to, v);
    else
      Store<T>::put_vector(to, v);
  }
};

// n numbers from `from` on, forwards or backwards; what lies `ahead` numbers on is fetched.
template <typename Put, int direction, typename In, typename To>
GENIMG_HD void move_row(const In& in, int64_t from, int64_t n, int64_t ahead, To* to) {
  constexpr int lanes = Vector<typename In::R>::lanes;
  int64_t j = 0;
  for (; j + lanes <= n; j += lanes)
    Put::put_vector(to + j, In::template from<direction>(in, from + direction * j, ahead));
  for (; j < n; ++j) Put::put(to + j, In::at(in, from + direction * j));
}

// A quarter turn: squares of the source, row by row, are transposed.
template <typename Put, typename In, typename To>
GENIMG_HD void turn_square(const In& in, const int64_t* starts, int64_t ahead, bool rises, To* to, int64_t stride) {
  using R = typename In::R;
  constexpr int n = Vector<R>::lanes;
  alignas(64) R square[n * n];
  for (int b = 0; b < n; ++b) store(square + b * n, In::template from<1>(in, starts[b], ahead));
  transpose(square, n, square, n);
  for (int a = 0; a < n; ++a) Put::put_vector(to + (rises ? a : n - 1 - a) * stride, load<VectorOf<R>>(square + a * n));
}

template <typename Put, typename In, typename To>
void turn(const Gather& gather, const In& in, To* to, int64_t stride) {
  constexpr int n = Vector<typename In::R>::lanes;
  const Tile& tile = gather.tile;
  const int32_t* const p = gather.view->p;
  const bool rises = p[3] > 0;
  const int64_t ahead = int64_t{p[1]} * tile.columns * gather.width;  // the next tile's
  int64_t starts[n];
  for (int32_t r = 0; r < tile.rows; r += n)
    for (int32_t j = 0; j < tile.columns; j += n) {
      const int height = tile.rows - r < n ? tile.rows - r : n, width = tile.columns - j < n ? tile.columns - j : n;
      const int32_t first = rises ? tile.y + r : tile.y + r + height - 1;  // at the least column of the source
      for (int b = 0; b < width; ++b) starts[b] = affine_source(p, first, tile.x + j + b, gather.width);
      To* const corner = to + r * stride + j;
      if (height == n && width == n)
        turn_square<Put>(in, starts, ahead, rises, corner, stride);
      else
        for (int a = 0; a < height; ++a)
          for (int b = 0; b < width; ++b)
            Put::put(corner + (rises ? a : height - 1 - a) * stride + b, In::at(in, starts[b] + a));
    }
}

// As many columns as a vector has lanes, each rolled by itself: what they need is transposed, so that a column is
// contiguous, and transposed back from where each column begins.
constexpr int kStripRows = 272;  // no power of two: columns would share lines of the cache

template <typename Put, typename In, typename To>
bool roll_strip(const Gather& gather, const In& in, int32_t first, To* to, int64_t stride) {
  using R = typename In::R;
  constexpr int n = Vector<R>::lanes;
  const Tile& tile = gather.tile;
  const int32_t* const shifts = gather.view->table + tile.x + first;
  int32_t offsets[n], least = 0, most = 0;
  for (int j = 0; j < n; ++j) {
    int32_t shift = shifts[j] - shifts[0];  // by the shorter way round
    if (2 * shift > gather.height) shift -= gather.height;
    if (2 * shift < -gather.height) shift += gather.height;
    least = shift < least ? shift : least, most = shift > most ? shift : most;
    offsets[j] = shift;
  }
  const int32_t rows = tile.rows + most - least;
  if (rows + 2 * n > kStripRows) return false;
  alignas(64) R square[n * n], strip[n * kStripRows];
  int32_t y = (tile.y - shifts[0] - most) % gather.height;
  y = y < 0 ? y + gather.height : y;
  for (int32_t r = 0; r < rows; r += n) {
    for (int a = 0; a < n; ++a) {
      store(square + a * n, In::template from<1>(in, int64_t{y} * gather.width + tile.x + first, n));
      y = y + 1 == gather.height ? 0 : y + 1;
    }
    transpose(square, n, strip + r, kStripRows);
  }
  for (int32_t r = 0; r < tile.rows; r += n) {
    for (int j = 0; j < n; ++j)
      store(square + j * n, load<VectorOf<R>>(strip + j * kStripRows + most - offsets[j] + r));
    transpose(square, n, square, n);
    for (int a = 0; a < n && r + a < tile.rows; ++a)
      Put::put_vector(to + (r + a) * stride + first, load<VectorOf<R>>(square + a * n));
  }
  return true;
}

template <typename Put, typename In, typename To>
void roll(const Gather& gather, const In& in, To* to, int64_t stride) {
  constexpr int n = Vector<typename In::R>::lanes;
  const Tile& tile = gather.tile;
  for (int32_t first = 0; first < tile.columns; first += n) {
    if (first + n <= tile.columns && roll_strip<Put>(gather, in, first, to, stride)) continue;
    for (int32_t r = 0; r < tile.rows; ++r)
      for (int32_t j = first; j < tile.columns && j < first + n; ++j)
        Put::put(to + r * stride + j,
                 In::at(in, roll_source(gather.view->table, tile.y + r, tile.x + j, gather.height, gather.width)));
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
  if (gather.view->kind == kRoll) return roll<Put>(gather, in, to, stride);
  if (is_transposed(*gather.view)) return turn<Put>(gather, in, to, stride);
  const bool is_whole = tile.columns == gather.width && stride == tile.columns, rises = gather.view->p[4] > 0;
  const bool is_one_run = is_whole && rises == (gather.view->p[0] > 0);
  const int64_t n = is_one_run ? int64_t{tile.rows} * tile.columns : tile.columns;
  const int64_t ahead = is_whole ? kTilePixels : tile.columns;
  for (int32_t r = 0; r < (is_one_run ? 1 : tile.rows); ++r) {
    const int64_t from = affine_source(gather.view->p, tile.y + r, tile.x, gather.width);
    To* const row = to + r * stride;
    if (rises)
      move_row<Put, 1>(in, from, n, ahead, row);
    else
      move_row<Put, -1>(in, from, n, ahead, row);
  }
}

template <typename T>
void copy(const Gather& gather, const T* in, typename Real<T>::type factor, bool streams, T* out) {
  T* const to = out + gather.tile.y * static_cast<int64_t>(gather.width) + gather.tile.x;
  const Plain<T> plain{in, factor};
  if (streams) return move<Stream<T>>(gather, plain, to, gather.width);
  move<Store<T>>(gather, plain, to, gather.width);
}

void finish_streams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
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
  for (int64_t i = 0; i < n; i += 64 / sizeof(T)) {
    fetch(rows.x + n + i);
    if (rows.noise != nullptr) fetch(rows.noise + n + i);
  }
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

GENIMG_HD f32v exponentials(f32v x) { return exponential_as<u32v>(x); }
GENIMG_HD f64v exponentials(f64v x) {
  for (int k = 0; k < Vector<double>::lanes; ++k) x[k] = exponential(x[k]);
  return x;
}

// Sums over the views of `vectors` vectors of pixels from j on: in registers, so that nothing is written but the
// result.
template <int direction, bool is_guided, bool learns, int vectors, typename RowView, typename V>
GENIMG_HD void add_view(const RowView& view, int64_t j, int64_t ahead, V (&m)[vectors], V (&variance)[vectors]) {
  constexpr int n = sizeof(V) / sizeof(V{}[0]);
#pragma GCC unroll 4
  for (int k = 0; k < vectors; ++k) {
    const int64_t at = direction * (j + k * n);
    fetch(view.c + at + direction * ahead);
    if constexpr (is_guided) {
      fetch(view.u + at + direction * ahead);
      m[k] += view.weight * guided(reals<direction>(view.u + at), reals<direction>(view.c + at), view.guidance);
    } else {
      m[k] += view.weight * reals<direction>(view.c + at);
    }
    if constexpr (learns) {
      fetch(view.variance + at + direction * ahead);
      variance[k] += view.variance_weight * reals<direction>(view.variance + at);
    }
  }
}

template <bool is_guided, bool learns, int vectors, typename T, typename R>
GENIMG_HD void step_block(const Step<R>& k, const typename Kernels<T>::RowView* views, int count, const T* x,
                          const T* noise, VectorOf<R> limit, VectorOf<R> scale, int64_t j, int64_t ahead, T* out) {
  using V = VectorOf<R>;
  constexpr int n = Vector<R>::lanes;
  V m[vectors] = {}, variance[vectors] = {};
  for (int i = 0; i < count; ++i) {
    if (views[i].is_reversed)
      add_view<-1, is_guided, learns>(views[i], j, ahead, m, variance);
    else
      add_view<1, is_guided, learns>(views[i], j, ahead, m, variance);
  }
#pragma GCC unroll 4
  for (int q = 0; q < vectors; ++q) {
    const int64_t at = j + q * n;
    fetch(x + at + ahead);
    fetch(noise + at + ahead);
    const V here = reals<1>(x + at), x0 = clipped(expected(k, here, m[q]), limit, scale);
    V deviation = V{} + k.deviation;
    if constexpr (learns) deviation = exponentials(k.log_deviation + k.log_slope * variance[q]);
    Store<T>::put_vector(out + at, previous(k, here, m[q], x0, deviation * reals<1>(noise + at)));
  }
}

template <bool is_guided, bool learns, typename T, typename R>
void step_rows_as(const Step<R>& k, const typename Kernels<T>::RowView* views, int count, const T* x, const T* noise,
                  R limit, R scale, int64_t n, T* out) {
  constexpr int lanes = Vector<R>::lanes, vectors = 4;
  const VectorOf<R> limits = VectorOf<R>{} + limit, scales = VectorOf<R>{} + scale;
  int64_t j = 0;
  for (; j + vectors * lanes <= n; j += vectors * lanes)
    step_block<is_guided, learns, vectors>(k, views, count, x, noise, limits, scales, j, n, out);
  for (; j < n; ++j) {
    R m = 0, variance = 0;
    for (int i = 0; i < count; ++i) {
      const auto& view = views[i];
      const int64_t at = view.is_reversed ? -j : j;
      const R c = Real<T>::from(view.c[at]);
      if constexpr (is_guided)
        m += view.weight * guided(Real<T>::from(view.u[at]), c, view.guidance);
      else
        m += view.weight * c;
      if constexpr (learns) variance += view.variance_weight * Real<T>::from(view.variance[at]);
    }
    const R here = Real<T>::from(x[j]), x0 = clipped(expected(k, here, m), limit, scale);
    const R deviation = learns ? learned_deviation(k, variance) : k.deviation;
    out[j] = Real<T>::to(previous(k, here, m, x0, deviation * Real<T>::from(noise[j])));
  }
}

template <typename T, typename R>
void step_rows(const Step<R>& step, const typename Kernels<T>::RowView* views, int count, const T* x, const T* noise,
               R limit, R scale, int64_t n, T* out) {
  Step<R> k = step;
  const bool is_guided = views[0].u != nullptr, learns = views[0].variance != nullptr;
  if (noise == nullptr) {  // anything, 0 times
    noise = x;
    k.deviation = 0;
  }
  if (is_guided && learns) return step_rows_as<true, true>(k, views, count, x, noise, limit, scale, n, out);
  if (is_guided) return step_rows_as<true, false>(k, views, count, x, noise, limit, scale, n, out);
  if (learns) return step_rows_as<false, true>(k, views, count, x, noise, limit, scale, n, out);
  step_rows_as<false, false>(k, views, count, x, noise, limit, scale, n, out);
}

template <typename T, typename R>
void convert(const R* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = Real<T>::to(from[i]);
}

template <typename T>
constexpr Kernels<T> table() {
  using R = typename Real<T>::type;
  return {&copy<T>,          &finish_streams, &add<T, R>,       &add_expected<T, R>,
          &add_deviation<R>, &finish<T, R>,   &step_rows<T, R>, &convert<T, R>};
}

}  // namespace

extern const Kernels<float> float_kernels = table<float>();
extern const Kernels<double> double_kernels = table<double>();
extern const Kernels<Half> half_kernels = table<Half>();
extern const Kernels<BFloat> bfloat_kernels = table<BFloat>();
extern const FindSources find_sources = &sources;

}  // namespace genimg::multiview::GENIMG_ISA
