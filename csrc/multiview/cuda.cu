// Views and a sampler's step on CUDA. A block makes a tile of 32 x 32 pixels of one channel and walks over the views;
// each thread keeps its pixels of the tile in registers from the first view to the last.
//
// Where a row's vectors of 16 bytes are aligned, a thread's pixels are one vector, and views that move rows (flips,
// half turns) read vectors. Other views are read pixel by pixel, lanes along the rows of the source, and handed to the
// threads that want them through a tile in shared memory; so are quarter turns and transposes always. Two tiles take
// turns, so that one barrier a view is enough.
//
// Floor: what a view reads and what is written once each, in whole sectors. A dynamic threshold is a quantile of a
// whole image, which blocks of one launch cannot agree on: the predictions are laid out as the picture is, one block
// for each image finds the quantile, and the step is made of what was laid out.
#include "multiview/cuda.h"

#include <algorithm>
#include <type_traits>

#include "common/cuda_launch.h"

namespace genimg::multiview::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kEdge = 32;  // of a tile
constexpr int kMaxCopies = 8;
constexpr size_t kMaxParameterBytes = 32764;  // of a kernel

// The pixels of a thread: 16 bytes of the larger of two types.
template <typename T, typename S = T>
constexpr int kPixels = 16 / (sizeof(T) > sizeof(S) ? sizeof(T) : sizeof(S));
template <int n>
constexpr int kThreads = kEdge * kEdge / n;
template <int n>
constexpr int kWarps = kThreads<n> / kWarp;

// Kernels ask for one resident block, without which the compiler spills registers to fit more than 64 allow.

// ---- Memory ---------------------------------------------------------------------------------------------------------

template <size_t bytes>
struct Vector;
template <>
struct Vector<8> {
  using type = uint2;
};
template <>
struct Vector<16> {
  using type = uint4;
};

template <typename T, int n, typename R>
__device__ __forceinline__ void load_pixels(const T* from, R (&values)[n]) {
  using V = typename Vector<n * sizeof(T)>::type;
  const V vector = load_vector(reinterpret_cast<const V*>(from));
  T pixels[n];
  __builtin_memcpy(pixels, &vector, sizeof vector);
#pragma unroll
  for (int k = 0; k < n; ++k) values[k] = Real<T>::from(pixels[k]);
}

template <typename T, int n, typename R>
__device__ __forceinline__ void store_pixels(T* to, const R (&values)[n]) {
  using V = typename Vector<n * sizeof(T)>::type;
  T pixels[n];
#pragma unroll
  for (int k = 0; k < n; ++k) pixels[k] = Real<T>::to(values[k]);
  V vector;
  __builtin_memcpy(&vector, pixels, sizeof vector);
  store_vector(reinterpret_cast<V*>(to), vector);
}

// Through the read-only path.
__device__ __forceinline__ float read(const float* from) { return __ldg(from); }
__device__ __forceinline__ double read(const double* from) { return __ldg(from); }
template <typename T>
__device__ __forceinline__ float read(const T* from) {
  return Real<T>::from({__ldg(&from->bits)});
}

// ---- The pixels of a block and of a thread --------------------------------------------------------------------------

struct Grid {
  Shape shape;
  int32_t across, per_plane;  // tiles
  bool in_vectors;
};

// Offsets of planes are of 64 bits, those within one of 32.
__device__ __forceinline__ int64_t plane_offset(const Shape& shape, int64_t plane) {
  return plane * shape.height * shape.width;
}

// A block's tile, and a thread's pixels in it: a vector, or one in each kWarps-th row.
template <int n>
struct Place {
  int32_t height, width;
  int32_t tile_y, tile_x;
  int32_t row, column, count;  // in the tile: the first pixel, and how many the picture has
  bool in_vectors;
  uint32_t plane;  // of all that the grid makes

  __device__ __forceinline__ explicit Place(const Grid& grid)
      : height(grid.shape.height), width(grid.shape.width), in_vectors(grid.in_vectors) {
    const uint32_t tile = blockIdx.x % grid.per_plane;
    plane = blockIdx.x / grid.per_plane;
    tile_y = tile / grid.across * kEdge;
    tile_x = tile % grid.across * kEdge;
    const int32_t t = threadIdx.x, across = kEdge / n;
    row = in_vectors ? t / across : t / kEdge;
    column = in_vectors ? t % across * n : t % kEdge;
    const int32_t rows_left = height - tile_y - row;
    const bool is_inside = rows_left > 0 && tile_x + column < width;
    const int32_t rows = (rows_left + kWarps<n> - 1) / kWarps<n>;
    count = !is_inside ? 0 : in_vectors || rows > n ? n : rows;
  }
  __device__ __forceinline__ int32_t y() const { return tile_y + row; }
  __device__ __forceinline__ int32_t x() const { return tile_x + column; }
  __device__ __forceinline__ int32_t row_of(int k) const { return in_vectors ? row : row + k * kWarps<n>; }
  __device__ __forceinline__ int32_t column_of(int k) const { return in_vectors ? column + k : column; }
  // Of a pixel that the picture has.
  __device__ __forceinline__ int32_t offset(int k) const {
    return (tile_y + row_of(k)) * width + tile_x + column_of(k);
  }
};

template <typename T, int n, typename R>
__device__ __forceinline__ void load_own(const Place<n>& place, const T* from, R (&values)[n]) {
  if (place.in_vectors) {
    if (place.count > 0) load_pixels(from + place.offset(0), values);
    return;
  }
#pragma unroll
  for (int k = 0; k < n; ++k)
    if (k < place.count) values[k] = Real<T>::from(from[place.offset(k)]);
}

template <typename T, int n, typename R>
__device__ __forceinline__ void store_own(const Place<n>& place, T* to, const R (&values)[n]) {
  if (place.in_vectors) {
    if (place.count > 0) store_pixels(to + place.offset(0), values);
    return;
  }
#pragma unroll
  for (int k = 0; k < n; ++k)
    if (k < place.count) to[place.offset(k)] = Real<T>::to(values[k]);
}

// ---- Views ----------------------------------------------------------------------------------------------------------

// Two tiles in shared memory that take turns. Rows and columns are read and written without bank conflicts: rows begin
// in banks next to each other; doubles of even and of odd columns lie apart, because a half warp reads every other one.
template <typename R>
struct Tile {
  static constexpr int kPitch = sizeof(R) == 4 ? kEdge + 1 : kEdge + 9;
  R at[kEdge * kPitch];
  static __device__ __forceinline__ int32_t slot(int32_t row, int32_t column) {
    return row * kPitch + (sizeof(R) == 4 ? column : column / 2 + column % 2 * 24);
  }
};

template <typename R>
struct Exchange {
  Tile<R>* tiles;
  int turn = 0;
  __device__ __forceinline__ R* next() { return tiles[turn ^= 1].at; }
};

// A plane of a stack: the conditional values, or between these and unconditional ones.
template <typename T>
struct Plane {
  using R = typename Real<T>::type;
  const T *unconditional, *conditional;  // the first null: no guidance
  R guidance;

  __device__ __forceinline__ R at(int32_t i) const {
    const R c = read(conditional + i);
    return unconditional == nullptr ? c : guided(read(unconditional + i), c, guidance);
  }
  template <int n>
  __device__ __forceinline__ void load(int32_t i, R (&values)[n]) const {
    load_pixels(conditional + i, values);
    if (unconditional == nullptr) return;
    R u[n];
    load_pixels(unconditional + i, u);
#pragma unroll
    for (int k = 0; k < n; ++k) values[k] = guided(u[k], values[k], guidance);
  }
};

template <typename T, int n, typename R>
__device__ __forceinline__ void gather_rows(const View& view, const Place<n>& place, const Plane<T>& in,
                                            R (&values)[n]) {
  if (place.count == 0) return;
  const bool rises = view.p[4] > 0;
  R loaded[n];
  in.load(affine_source(view.p, place.y(), place.x() + (rises ? 0 : n - 1), place.width), loaded);
#pragma unroll
  for (int k = 0; k < n; ++k) values[k] = rises ? loaded[k] : loaded[n - 1 - k];
}

// Rows of the source lie in columns, if not everywhere.
__device__ __forceinline__ bool is_turned(const View& view) { return is_transposed(view) || view.kind == kHinge; }

// Lanes run along the rows of the source.
template <typename T, int n, typename R>
__device__ __forceinline__ void gather_through(const View& view, const Place<n>& place, const Plane<T>& in, R* tile,
                                               R (&values)[n]) {
  const bool turned = is_turned(view);
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
  for (int k = 0; k < n; ++k) {
    const int32_t line = warp + k * kWarps<n>;
    const int32_t row = turned ? lane : line, column = turned ? line : lane;
    const int32_t y = place.tile_y + row, x = place.tile_x + column;
    if (y >= place.height || x >= place.width) continue;
    tile[Tile<R>::slot(row, column)] = in.at(source(view, y, x, place.height, place.width));
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < n; ++k)
    if (k < place.count) values[k] = tile[Tile<R>::slot(place.row_of(k), place.column_of(k))];
}

// values = in[src] at the thread's pixels; those outside the picture are left alone.
template <typename T, int n, typename R>
__device__ __forceinline__ void gather(const View& view, const Place<n>& place, const Plane<T>& in,
                                       Exchange<R>& exchange, R (&values)[n]) {
  if (place.in_vectors && is_by_rows(view)) return gather_rows(view, place, in, values);
  if (place.in_vectors || is_turned(view)) return gather_through(view, place, in, exchange.next(), values);
#pragma unroll
  for (int k = 0; k < n; ++k)
    if (k < place.count)
      values[k] = in.at(source(view, place.y() + k * kWarps<n>, place.x(), place.height, place.width));
}

// ---- Apply ----------------------------------------------------------------------------------------------------------

template <typename T>
struct ApplyArguments {
  const T* x;
  Grid grid;
  Views views;
  int copies;
  typename Real<T>::type factors[kMaxCopies][kMaxViews];
  T* out;
};

template <typename T>
__global__ void __launch_bounds__(kThreads<kPixels<T>>, 1) apply_views(const __grid_constant__ ApplyArguments<T> p) {
  using R = typename Real<T>::type;
  constexpr int n = kPixels<T>;
  __shared__ Tile<R> tiles[2];
  Exchange<R> exchange{tiles};
  const Place<n> place(p.grid);
  const Shape& shape = p.grid.shape;
  const int64_t image = place.plane / shape.channels;
  const int32_t channel = static_cast<int32_t>(place.plane % shape.channels);
  for (int i = 0; i < p.views.count; ++i) {
    const View& view = p.views.view[i];
    const T* const in = p.x + plane_offset(shape, image * shape.channels + channel_source(view, channel));
    const R sign = R(channel_sign(view, channel));
    R values[n] = {};
    gather(view, place, Plane<T>{nullptr, in, R(0)}, exchange, values);
    for (int copy = 0; copy < p.copies; ++copy) {
      const R factor = p.factors[copy][i] * sign;
      R scaled[n];
#pragma unroll
      for (int k = 0; k < n; ++k) scaled[k] = factor * values[k];
      const int64_t stacked = (int64_t{copy} * p.views.count + i) * shape.batch + image;
      store_own(place, p.out + plane_offset(shape, stacked * shape.channels + channel), scaled);
    }
  }
}

// ---- Stacks of predictions ------------------------------------------------------------------------------------------

template <typename T>
struct Stack {
  using R = typename Real<T>::type;
  const T* values;
  Views inverse;
  bool is_guided;
  int64_t channels;  // the variance's too
  R guidance[kMaxViews], weight[kMaxViews], variance_weight[kMaxViews];
};

// What a block reads of a stack: the planes of one channel of an image.
template <typename T, int n>
struct Predictions {
  using R = typename Real<T>::type;
  const Stack<T>& stack;
  const Shape& shape;
  const Place<n>& place;
  int64_t image;
  int32_t channel;
  Exchange<R> exchange;

  __device__ __forceinline__ const T* plane(int copy, int view, int64_t from) const {
    const int64_t stacked = (int64_t{copy} * stack.inverse.count + view) * shape.batch + image;
    return stack.values + plane_offset(shape, stacked * stack.channels + from);
  }
  // A view's prediction, or its variance, which is the conditional one and has no sign, at the thread's pixels.
  __device__ __forceinline__ void get(int i, R (&values)[n]) {
    const View& view = stack.inverse.view[i];
    const int32_t from = channel_source(view, channel);
    const T* const unconditional = stack.is_guided ? plane(0, i, from) : nullptr;
    gather(view, place, Plane<T>{unconditional, plane(stack.is_guided, i, from), stack.guidance[i]}, exchange, values);
    const R sign = R(channel_sign(view, channel));
#pragma unroll
    for (int k = 0; k < n; ++k) values[k] *= sign;
  }
  __device__ __forceinline__ void get_variance(int i, R (&values)[n]) {
    const View& view = stack.inverse.view[i];
    const T* const conditional = plane(stack.is_guided, i, shape.channels + channel_source(view, channel));
    gather(view, place, Plane<T>{nullptr, conditional, R(0)}, exchange, values);
  }
};

// f(i, weight, values) for the views that weigh something.
template <typename T, int n, typename Function>
__device__ __forceinline__ void for_predictions(Predictions<T, n>& predictions, Function f) {
  using R = typename Real<T>::type;
  for (int i = 0; i < predictions.stack.inverse.count; ++i) {
    const R weight = predictions.stack.weight[i];
    if (weight == R(0)) continue;
    R values[n] = {};
    predictions.get(i, values);
    f(i, weight, values);
  }
}
template <typename T, int n, typename Function>
__device__ __forceinline__ void for_variances(Predictions<T, n>& predictions, Function f) {
  using R = typename Real<T>::type;
  for (int i = 0; i < predictions.stack.inverse.count; ++i) {
    const R weight = predictions.stack.variance_weight[i];
    if (weight == R(0)) continue;
    R values[n] = {};
    predictions.get_variance(i, values);
    f(weight, values);
  }
}

// ---- Reduce ---------------------------------------------------------------------------------------------------------

// O: T, or what it is computed in where a step goes on from there. In parts of one view each, unweighted, or as one.
template <typename T, typename O>
struct ReduceArguments {
  Stack<T> stack;
  Grid grid;
  bool is_apart;
  O *noise, *variance;
  int64_t channels;  // from an image to the next one
};

template <typename T, typename O>
__global__ void __launch_bounds__(kThreads<kPixels<T, O>>, 1)
    reduce_views(const __grid_constant__ ReduceArguments<T, O> p) {
  using R = typename Real<T>::type;
  constexpr int n = kPixels<T, O>;
  __shared__ Tile<R> tiles[2];
  const Place<n> place(p.grid);
  const Shape& shape = p.grid.shape;
  const int64_t item = place.plane / shape.channels;  // an image of a part
  const int part = static_cast<int>(item / shape.batch);
  const int32_t channel = static_cast<int32_t>(place.plane % shape.channels);
  Predictions<T, n> predictions{p.stack, shape, place, item % shape.batch, channel, {tiles}};
  const int64_t to = plane_offset(shape, item * p.channels + channel);
  R sums[n] = {};
  const auto add = [&](R weight, const R(&values)[n]) {
#pragma unroll
    for (int k = 0; k < n; ++k) sums[k] += weight * values[k];
  };
  if (p.is_apart)
    predictions.get(part, sums);
  else
    for_predictions(predictions, [&](int, R weight, const R(&values)[n]) { add(weight, values); });
  store_own(place, p.noise + to, sums);
  if (p.variance == nullptr) return;
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = 0;
  if (p.is_apart)
    predictions.get_variance(part, sums);
  else
    for_variances(predictions, add);
  store_own(place, p.variance + to, sums);
}

// ---- The limits of a dynamic threshold ------------------------------------------------------------------------------

constexpr int kLimitThreads = 1024;
constexpr int kLimitWarps = kLimitThreads / kWarp;
constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;

// Non-negative numbers are in the order of their bits.
template <typename R>
struct Bits;
template <>
struct Bits<float> {
  using type = unsigned int;
  static constexpr type infinity = 0x7f800000u, all = 0x7fffffffu;
};
template <>
struct Bits<double> {
  using type = unsigned long long;
  static constexpr type infinity = 0x7ff0000000000000ull, all = 0x7fffffffffffffffull;
};

// The quantile of |x0|: between the numbers of the ranks `lower` and lower + 1.
template <typename T>
struct LimitArguments {
  using R = typename Real<T>::type;
  const T* x;
  const R* m;
  Step<R> step;
  int64_t images, size, stride;  // the numbers of an image, and from an image of m to the next one
  int64_t lower;
  R fraction, range;
  bool in_vectors;
  bool is_wanted[kMaxViews];  // by part
  R* limits;                  // (part, image)
};

// f(bits of |x0|) for this thread's share of an image.
template <typename T, typename Function>
__device__ __forceinline__ void for_sizes(const LimitArguments<T>& p, Function f) {
  using R = typename Real<T>::type;
  using B = typename Bits<R>::type;
  constexpr int n = kPixels<T, R>;
  const T* const x = p.x + blockIdx.x % p.images * p.size;
  const R* const m = p.m + blockIdx.x * p.stride;
  const auto give = [&](R x_, R m_) {
    const R x0 = expected(p.step, x_, m_);
    B bits;
    __builtin_memcpy(&bits, &x0, sizeof bits);
    f(bits & Bits<R>::all);
  };
  if (!p.in_vectors) {
    for (int64_t i = threadIdx.x; i < p.size; i += kLimitThreads) give(Real<T>::from(x[i]), m[i]);
    return;
  }
  for (int64_t i = threadIdx.x * n; i < p.size; i += kLimitThreads * n) {
    R xs[n], ms[n];
    load_pixels(x + i, xs);
    load_pixels(m + i, ms);
#pragma unroll
    for (int k = 0; k < n; ++k) give(xs[k], ms[k]);
  }
}

struct Found {
  int digit;
  unsigned long long before, equal;  // numbers of lower digits, and of this one
};

struct LimitMemory {
  unsigned int counts[kLimitWarps][kDigits];
  unsigned long long warp_totals[kDigits / kWarp];
  Found found;
};

// The digit of the number of a rank. All threads' counts are there; there is a barrier before it returns.
__device__ __forceinline__ Found find_digit(unsigned long long rank, LimitMemory& memory) {
  const int t = threadIdx.x, lane = t % kWarp, warp = t / kWarp;
  unsigned long long total = 0, through = 0;
  if (t < kDigits) {
    for (int w = 0; w < kLimitWarps; ++w) total += memory.counts[w][t];
    through = total;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const unsigned long long lower = __shfl_up_sync(~0u, through, step);
      if (lane >= step) through += lower;
    }
    if (lane == kWarp - 1) memory.warp_totals[warp] = through;
  }
  __syncthreads();
  if (t < kDigits) {
    for (int w = 0; w < warp; ++w) through += memory.warp_totals[w];
    if (through - total <= rank && rank < through) memory.found = {t, through - total, total};
  }
  __syncthreads();
  return memory.found;
}

template <typename T>
__global__ void __launch_bounds__(kLimitThreads, 1) find_limits(const __grid_constant__ LimitArguments<T> p) {
  using R = typename Real<T>::type;
  using B = typename Bits<R>::type;
  __shared__ LimitMemory memory;
  __shared__ B next;
  if (!p.is_wanted[blockIdx.x / p.images]) return;
  const int lane = threadIdx.x % kWarp;
  unsigned int* const own = memory.counts[threadIdx.x / kWarp];
  unsigned long long rank = p.lower, equal = 0;
  B prefix = 0;
  bool has_nan = false;
  if (threadIdx.x == 0) next = Bits<R>::infinity;
  for (int shift = 8 * sizeof(R) - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int d = lane; d < kDigits; d += kWarp) own[d] = 0;
    __syncwarp();
    // Two shifts: one by all the bits is not defined.
    const B upper = prefix >> shift >> kDigitBits;
    for_sizes(p, [&](B bits) {
      has_nan |= bits > Bits<R>::infinity;
      if (bits >> shift >> kDigitBits == upper) atomicAdd(&own[bits >> shift & (kDigits - 1)], 1u);
    });
    has_nan = __syncthreads_or(has_nan);
    const Found found = find_digit(rank, memory);
    prefix |= static_cast<B>(found.digit) << shift;
    rank -= found.before;
    equal = found.equal;
  }
  if (rank + 1 < equal) {
    if (threadIdx.x == 0) next = prefix;
  } else {
    B least = Bits<R>::infinity;
    for_sizes(p, [&](B bits) {
      if (bits > prefix) least = min(least, bits);
    });
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) least = min(least, __shfl_xor_sync(~0u, least, step));
    if (lane == 0) atomicMin(&next, least);
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  const B high_bits = static_cast<int64_t>(p.lower) + 1 < p.size ? next : prefix;
  R low, high;
  __builtin_memcpy(&low, &prefix, sizeof low);
  __builtin_memcpy(&high, &high_bits, sizeof high);
  const R quantile = low + (high - low) * p.fraction;
  // NaN stays, which no comparison is true for.
  const R above = quantile < R(1) ? R(1) : quantile;
  p.limits[blockIdx.x] = has_nan ? R(NAN) : above > p.range ? p.range : above;
}

// ---- The step -------------------------------------------------------------------------------------------------------

template <typename T, typename S>
struct StepArguments {
  using R = typename Real<T>::type;
  const T* x;
  Stack<S> stack;
  Grid grid;
  Step<R> step;
  Average average;
  R range;
  const R* limits;  // (views or 1, images); null: `range` is the limit
  bool has_variance;
  const T* noise;
  T* out;
};

template <typename R>
struct Limit {
  R limit, scale;
};

template <typename T, typename S, typename R = typename Real<T>::type>
__device__ __forceinline__ Limit<R> limit_of(const StepArguments<T, S>& p, int part, int64_t image) {
  if (p.limits == nullptr) return {p.range, R(1)};
  const R limit = p.limits[part * p.grid.shape.batch + image];
  return {limit, R(1) / limit};
}

template <typename T, typename S>
__global__ void __launch_bounds__(kThreads<kPixels<T, S>>, 1)
    step_views(const __grid_constant__ StepArguments<T, S> p) {
  using R = typename Real<T>::type;
  constexpr int n = kPixels<T, S>;
  __shared__ Tile<R> tiles[2];
  const Place<n> place(p.grid);
  const Shape& shape = p.grid.shape;
  const int64_t image = place.plane / shape.channels;
  const int32_t channel = static_cast<int32_t>(place.plane % shape.channels);
  Predictions<S, n> predictions{p.stack, shape, place, image, channel, {tiles}};
  const int64_t here = plane_offset(shape, place.plane);
  const bool is_apart = p.average != Average::prediction;
  R x[n] = {}, m[n] = {}, x0[n] = {};
  load_own(place, p.x + here, x);
  for_predictions(predictions, [&](int i, R weight, const R(&values)[n]) {
    if (is_apart) {
      const Limit<R> limit = limit_of(p, i, image);
#pragma unroll
      for (int k = 0; k < n; ++k)
        x0[k] += weight * clipped(expected(p.step, x[k], values[k]), limit.limit, limit.scale);
    }
#pragma unroll
    for (int k = 0; k < n; ++k) m[k] += weight * values[k];
  });
  if (!is_apart) {
    const Limit<R> limit = limit_of(p, 0, image);
#pragma unroll
    for (int k = 0; k < n; ++k) x0[k] = clipped(expected(p.step, x[k], m[k]), limit.limit, limit.scale);
  }
  R z[n] = {};
  if (p.noise != nullptr) {
    R deviation[n] = {};
    const bool is_of_samples = p.average == Average::sample;
    if (p.has_variance)
      for_variances(predictions, [&](R weight, const R(&values)[n]) {
#pragma unroll
        for (int k = 0; k < n; ++k)
          deviation[k] += weight * (is_of_samples ? learned_deviation(p.step, values[k]) : values[k]);
      });
    load_own(place, p.noise + here, z);
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const R learned = is_of_samples ? deviation[k] : learned_deviation(p.step, deviation[k]);
      z[k] *= p.has_variance ? learned : p.step.deviation;
    }
  }
#pragma unroll
  for (int k = 0; k < n; ++k) x[k] = previous(p.step, x[k], m[k], x0[k], z[k]);
  store_own(place, p.out + here, x);
}

// ---- Launching ------------------------------------------------------------------------------------------------------

template <typename T>
bool is_aligned(const T* pointer, int pixels) {
  return reinterpret_cast<uintptr_t>(pointer) % (pixels * sizeof(T)) == 0;
}

int32_t tiles_along(int32_t size) { return size / kEdge + (size % kEdge != 0); }

// Rows are vectors of n pixels if all pointers begin at one.
template <int n, typename... Pointers>
Grid grid_of(const Shape& shape, Pointers... pointers) {
  const int32_t across = tiles_along(shape.width);
  return {shape, across, across * tiles_along(shape.height), shape.width % n == 0 && (is_aligned(pointers, n) && ...)};
}

template <typename Arguments>
void launch_tiles(void (*kernel)(Arguments), const Arguments& arguments, int64_t planes, int threads,
                  Launches& launches) {
  static_assert(sizeof(Arguments) <= kMaxParameterBytes);
  launches.add(planes * arguments.grid.per_plane, threads, kernel, arguments);
}

template <typename R>
void convert(const double (&from)[kMaxViews], R (&to)[kMaxViews]) {
  for (int i = 0; i < kMaxViews; ++i) to[i] = R(from[i]);
}

template <typename T>
Stack<T> stack_of(const Prediction<T>& prediction, const Shape& shape, const Views& inverse) {
  Stack<T> stack{
      prediction.values, inverse, prediction.is_guided, shape.channels * (prediction.has_variance ? 2 : 1), {}, {}, {}};
  convert(prediction.guidance, stack.guidance);
  convert(prediction.weight, stack.weight);
  convert(prediction.variance_weight, stack.variance_weight);
  return stack;
}

bool is_empty(const Shape& shape) { return shape.batch * shape.channels * shape.pixels() == 0; }

// What a step with a dynamic threshold lays out: a stack without guidance, whose views leave pictures as they are.
template <typename T>
struct Layout {
  using R = typename Real<T>::type;
  bool is_apart, has_variance;
  int parts;
  int64_t channels;  // of the picture, and of the variance
  R *values, *limits;

  Layout(const Prediction<T>& prediction, const Shape& shape, const Views& inverse, const Sampling& sampling,
         const T* noise, Carver& carver)
      : is_apart(sampling.average != Average::prediction),
        has_variance(prediction.has_variance && noise != nullptr),
        parts(is_apart ? inverse.count : 1),
        channels(shape.channels * (has_variance ? 2 : 1)),
        values(carver.take<R>(parts * shape.batch * channels * shape.pixels())),
        limits(carver.take<R>(parts * shape.batch)) {}

  Stack<R> stack(const Stack<T>& from) const {
    Stack<R> stack{values, {}, false, channels, {}, {}, {}};
    stack.inverse.count = parts;
    for (int i = 0; i < parts; ++i) {
      stack.inverse.view[i] = {kAffine, {1, 0, 0, 0, 1, 0}, nullptr, nullptr};
      stack.weight[i] = is_apart ? from.weight[i] : R(1);
      stack.variance_weight[i] = is_apart ? from.variance_weight[i] : R(1);
    }
    return stack;
  }
};

template <typename T, typename S>
void launch_step(const StepArguments<T, S>& arguments, Launches& launches) {
  const Shape& shape = arguments.grid.shape;
  launch_tiles(step_views<T, S>, arguments, shape.batch * shape.channels, kThreads<kPixels<T, S>>, launches);
}

}  // namespace

// ---- The interface --------------------------------------------------------------------------------------------------

template <typename T>
cudaError_t apply(const T* x, const Shape& shape, const Views& views, int copies, const double* factors, T* out,
                  cudaStream_t stream) {
  if (is_empty(shape)) return cudaSuccess;
  constexpr int n = kPixels<T>;
  const int64_t stack = views.count * shape.batch * shape.channels * shape.pixels();
  Launches launches(stream);
  for (int first = 0; first < copies; first += kMaxCopies) {
    ApplyArguments<T> arguments{x,  grid_of<n>(shape, x, out), views, std::min(copies - first, kMaxCopies),
                                {}, out + first * stack};
    for (int copy = 0; copy < arguments.copies; ++copy)
      for (int i = 0; i < views.count; ++i)
        arguments.factors[copy][i] = factors == nullptr ? 1 : factors[(first + copy) * views.count + i];
    launch_tiles(apply_views<T>, arguments, shape.batch * shape.channels, kThreads<n>, launches);
  }
  return launches.error();
}

template <typename T>
cudaError_t reduce(const Prediction<T>& prediction, const Shape& shape, const Views& inverse, T* noise, T* variance,
                   cudaStream_t stream) {
  if (is_empty(shape)) return cudaSuccess;
  constexpr int n = kPixels<T>;
  Launches launches(stream);
  const ReduceArguments<T, T> arguments{stack_of(prediction, shape, inverse),
                                        grid_of<n>(shape, prediction.values, noise, variance),
                                        false,
                                        noise,
                                        variance,
                                        shape.channels};
  launch_tiles(reduce_views<T, T>, arguments, shape.batch * shape.channels, kThreads<n>, launches);
  return launches.error();
}

template <typename T>
size_t step_workspace(const Prediction<T>& prediction, const Shape& shape, const Views& inverse,
                      const Sampling& sampling, const T* noise) {
  Carver carver(nullptr);
  if (sampling.clipping.quantile != 0) Layout<T>(prediction, shape, inverse, sampling, noise, carver);
  return carver.bytes();
}

namespace {

// Lays the predictions out and finds the limits; returns the step that is left.
template <typename T, typename R = typename Real<T>::type>
StepArguments<T, R> lay_out(const StepArguments<T, T>& whole, const Layout<T>& layout, double quantile,
                            Launches& launches) {
  constexpr int n = kPixels<T, R>;
  const Shape& shape = whole.grid.shape;
  const int64_t size = shape.channels * shape.pixels();
  const ReduceArguments<T, R> reduction{whole.stack,
                                        grid_of<n>(shape, whole.stack.values),
                                        layout.is_apart,
                                        layout.values,
                                        layout.has_variance ? layout.values + size : nullptr,
                                        layout.channels};
  launch_tiles(reduce_views<T, R>, reduction, layout.parts * shape.batch * shape.channels, kThreads<n>, launches);

  const double position = quantile * static_cast<double>(size - 1);
  const int64_t lower = static_cast<int64_t>(position);
  LimitArguments<T> limits{whole.x,     layout.values,
                           whole.step,  shape.batch,
                           size,        layout.channels * shape.pixels(),
                           lower,       R(position - static_cast<double>(lower)),
                           whole.range, grid_of<n>(shape, whole.x).in_vectors,
                           {},          layout.limits};
  for (int i = 0; i < layout.parts; ++i) limits.is_wanted[i] = !layout.is_apart || whole.stack.weight[i] != R(0);
  launches.add(layout.parts * shape.batch, kLimitThreads, find_limits<T>, limits);

  return {whole.x,
          layout.stack(whole.stack),
          grid_of<n>(shape, whole.x, whole.noise, whole.out),
          whole.step,
          whole.average,
          whole.range,
          layout.limits,
          layout.has_variance,
          whole.noise,
          whole.out};
}

}  // namespace

template <typename T>
cudaError_t step(const T* x, const Prediction<T>& prediction, const Shape& shape, const Views& inverse,
                 const Sampling& sampling, const T* noise, T* out, void* workspace, cudaStream_t stream) {
  if (is_empty(shape)) return cudaSuccess;
  using R = typename Real<T>::type;
  const StepArguments<T, T> whole{x,
                                  stack_of(prediction, shape, inverse),
                                  grid_of<kPixels<T>>(shape, x, prediction.values, noise, out),
                                  converted<R>(sampling.step),
                                  sampling.average,
                                  R(sampling.clipping.range),
                                  nullptr,
                                  prediction.has_variance,
                                  noise,
                                  out};
  Launches launches(stream);
  if (sampling.clipping.quantile == 0) {
    launch_step(whole, launches);
    return launches.error();
  }
  Carver carver(workspace);
  const Layout<T> layout(prediction, shape, inverse, sampling, noise, carver);
  launch_step(lay_out(whole, layout, sampling.clipping.quantile, launches), launches);
  return launches.error();
}

#define GENIMG_MULTIVIEW(T)                                                                                           \
  template cudaError_t apply<T>(const T*, const Shape&, const Views&, int, const double*, T*, cudaStream_t);          \
  template cudaError_t reduce<T>(const Prediction<T>&, const Shape&, const Views&, T*, T*, cudaStream_t);             \
  template size_t step_workspace<T>(const Prediction<T>&, const Shape&, const Views&, const Sampling&, const T*);     \
  template cudaError_t step<T>(const T*, const Prediction<T>&, const Shape&, const Views&, const Sampling&, const T*, \
                               T*, void*, cudaStream_t);
GENIMG_MULTIVIEW(float)
GENIMG_MULTIVIEW(double)
GENIMG_MULTIVIEW(Half)
GENIMG_MULTIVIEW(BFloat)
#undef GENIMG_MULTIVIEW

}  // namespace genimg::multiview::cuda
