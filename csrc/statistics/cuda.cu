// The statistics on CUDA.
//
// Correlations and convolutions work on tiles of 32 x 32 pixels: the tile and what lies within the radius of it are
// read once into shared memory, in whole sectors where rows are aligned to them. A warp of a correlation has a row of
// lags and the whole tile; each lane keeps the sums of the row's lags in registers and walks down its columns, so that
// what one load brings serves 2 radius + 1 lags. A thread of a convolution makes two rows, so that taps serve twice.
// Radii from 1 to 7 are compiled; any other takes kernels without registers for the lags of a row.
//
// Sums leave a block as doubles, one for each tile or run, which a second launch adds in order: what blocks of one
// launch hand to each other is the one thing that cannot be proved without a GPU (docs/cuda.md).
//
// Floor: planes are read once (correlations and convolutions: with the margins of tiles) and written once.
#include "statistics/cuda.h"

#include <type_traits>

#include "common/cuda_launch.h"

namespace genimg::statistics::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kEdge = 32;  // of a tile
constexpr int kSectorBytes = 32;

template <typename Integer>
GENIMG_HD constexpr Integer ceil_divide(Integer a, Integer b) {
  return (a + b - 1) / b;
}
GENIMG_HD constexpr int round_up(int n, int unit) { return ceil_divide(n, unit) * unit; }

// Of numbers of blocks, which a grid has fewer of than 2^31: a division of 32 bits.
__device__ __forceinline__ int64_t quotient(int64_t a, int64_t b) {
  return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
}
__device__ __forceinline__ int64_t remainder(int64_t a, int64_t b) {
  return static_cast<uint32_t>(a) % static_cast<uint32_t>(b);
}

// ---- Memory ---------------------------------------------------------------------------------------------------------

template <typename T, int n>
struct Word;
template <>
struct Word<float, 2> {
  using type = float2;
};
template <>
struct Word<float, 4> {
  using type = float4;
};
template <>
struct Word<double, 2> {
  using type = double2;
};

// One access of a number, or of n in 8 or 16 bytes.
template <int n, typename T>
__device__ __forceinline__ void load(const T* from, T* values) {
  if constexpr (n == 1) {
    *values = *from;
  } else {
    const auto word = load_vector(reinterpret_cast<const typename Word<T, n>::type*>(from));
    __builtin_memcpy(values, &word, sizeof word);
  }
}

template <int n, typename T>
__device__ __forceinline__ auto word_of(const T* values) {
  using V = typename Word<T, n>::type;
  if constexpr (n == 2)
    return V{values[0], values[1]};
  else
    return V{values[0], values[1], values[2], values[3]};
}

// As many at once, to shared memory and to global memory.
template <int n, typename T>
__device__ __forceinline__ void store_shared(T* to, const T* values) {
  if constexpr (n == 1)
    *to = *values;
  else
    store_vector(reinterpret_cast<typename Word<T, n>::type*>(to), word_of<n>(values));
}

template <int n, typename T>
__device__ __forceinline__ void store(T* to, const T* values) {
  if constexpr (n == 1)
    *to = *values;
  else
    store_global_vector(reinterpret_cast<typename Word<T, n>::type*>(to), word_of<n>(values));
}

// The numbers of a vector.
template <typename T>
constexpr int kVector = 16 / sizeof(T);

template <typename T>
__host__ __device__ inline bool is_aligned(const T* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// ---- Sums -----------------------------------------------------------------------------------------------------------

// The sums over a warp of what its lanes have: lane i gets that of values[i / (32 / n)]. Each step hands one half of
// the values over for the other.
template <int n, int kStep = kWarp / 2, typename T>
__device__ __forceinline__ T warp_sums(const T (&values)[n]) {
  if constexpr (n == 1) {
    T sum = values[0];
#pragma unroll
    for (int step = kStep; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    return sum;
  } else {
    const bool is_upper = threadIdx.x & kStep;
    T kept[n / 2];
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {
      const T given = is_upper ? values[i] : values[i + n / 2];
      kept[i] = (is_upper ? values[i + n / 2] : values[i]) + __shfl_xor_sync(~0u, given, kStep);
    }
    return warp_sums<n / 2, kStep / 2>(kept);
  }
}

// What the blocks of a first launch leave of each plane: parts of `items` sums, in rows of whole sectors.
struct Parts {
  double* sums;
  int64_t count;  // of a plane
  int items;

  __host__ __device__ int pitch() const { return round_up(items, kSectorBytes / sizeof(double)); }
  __device__ double* of(int64_t plane, int64_t part) const { return sums + (plane * count + part) * pitch(); }
};

constexpr int kAddThreads = 512;

// out[plane][i] = the sum over the parts of item i; where is_symmetric, items beyond those that there are stand for
// the ones as far from the end.
__global__ void __launch_bounds__(kAddThreads)
    add_parts(const __grid_constant__ Parts parts, int lanes, int items, bool is_symmetric, double* __restrict__ out) {
  __shared__ double sums[kAddThreads];
  const int t = threadIdx.x, lane = t % lanes, groups = kAddThreads / lanes;
  const int cells = ceil_divide(items, lanes);
  const int64_t plane = blockIdx.x / cells;
  const int item = static_cast<int>(blockIdx.x % cells) * lanes + lane;
  const int source = is_symmetric ? min(item, items - 1 - item) : item;
  double sum = 0;
  if (item < items) {
#pragma unroll 4
    for (int64_t part = t / lanes; part < parts.count; part += groups) sum += parts.of(plane, part)[source];
  }
  sums[t] = sum;
  __syncthreads();
  if (t >= lanes || item >= items) return;
  for (int group = 1; group < groups; ++group) sum += sums[group * lanes + t];
  out[plane * items + item] = sum;
}

// ---- Tiles ----------------------------------------------------------------------------------------------------------

// Planes in tiles. in_vectors: all rows, of all operands, are aligned to vectors.
struct Tiles {
  Planes planes;
  int64_t down, per_plane;  // tiles
  bool in_vectors;

  __device__ __forceinline__ int64_t plane_offset(int64_t plane) const { return plane * planes.height * planes.width; }
};

struct Tile {
  int64_t plane, number;  // of the plane's
  int64_t y, x;
  int rows, columns;  // that the plane has

  __device__ __forceinline__ explicit Tile(const Tiles& tiles)
      : plane(remainder(blockIdx.x, tiles.planes.count)),
        number(quotient(blockIdx.x, tiles.planes.count)),
        y(remainder(number, tiles.down) * kEdge),
        x(quotient(number, tiles.down) * kEdge),
        rows(static_cast<int>(min(tiles.planes.height - y, int64_t{kEdge}))),
        columns(static_cast<int>(min(tiles.planes.width - x, int64_t{kEdge}))) {}
};

// A tile in shared memory with margins on all sides: as many rows as the radius, and columns in whole sectors, so that
// a row is read in whole ones.
template <typename T, int kRadius>
struct Margins {
  static constexpr int kSide = round_up(kRadius, kSectorBytes / sizeof(T));
  static constexpr int kPitch = kEdge + 2 * kSide;
  static constexpr int kSize = (kEdge + 2 * kRadius) * kPitch;
};

// Of an index that is as far outside as the radius is larger than the plane.
__device__ __forceinline__ int64_t wrapped_often(int64_t index, int64_t n) {
  while (index < 0 || index >= n) index = wrapped(index, n);
  return index;
}

// Fills rows of kEdge pixels and a margin on both sides, around the plane's edges. Beyond the radius around the plane
// (or, where rows are read in whole sectors, the margin) there are zeros.
template <int kSide, typename T>
__device__ void load_tile(const T* plane, const Tiles& tiles, const Tile& tile, int radius, T* to) {
  constexpr int kColumns = kEdge + 2 * kSide;
  const int64_t height = tiles.planes.height, width = tiles.planes.width;
  const auto fill = [&]<int n>(T(&values)[n]) {
    const int margin = n == 1 ? radius : kSide, count = (kEdge + 2 * radius) * (kColumns / n);
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
      const int64_t row = tile.y - radius + i / (kColumns / n), column = tile.x - kSide + i % (kColumns / n) * n;
      if (row < height + radius && column < width + margin)
        load<n>(plane + wrapped_often(row, height) * width + wrapped_often(column, width), values);
      else
        for (int e = 0; e < n; ++e) values[e] = 0;
      store_shared<n>(to + i * n, values);
    }
  };
  T one[1], vector[kVector<T>];
  if (tiles.in_vectors)
    fill(vector);
  else
    fill(one);
}

// ---- Correlation ----------------------------------------------------------------------------------------------------

template <typename T>
struct CorrelationArguments {
  const T *a, *b;  // the same: half of the rows of lags
  Tiles tiles;
  int radius, rows;  // of lags
  Parts parts;
};

template <typename T, int kRadius>
struct CorrelationMemory {
  alignas(16) T b[Margins<T, kRadius>::kSize];
  alignas(16) T a[kEdge * kEdge];  // where it is not in b
};

template <typename T>
struct Rows {
  const T* data;
  int pitch;
};

// Fills the memory and returns where a's tile is.
template <typename T, int kRadius>
__device__ Rows<T> load_both(const CorrelationArguments<T>& p, const Tile& tile,
                             CorrelationMemory<T, kRadius>& memory) {
  using M = Margins<T, kRadius>;
  const int64_t offset = p.tiles.plane_offset(tile.plane);
  load_tile<M::kSide>(p.b + offset, p.tiles, tile, p.radius, memory.b);
  if (p.a != p.b) load_tile<0>(p.a + offset, p.tiles, tile, 0, memory.a);
  __syncthreads();
  return p.a == p.b ? Rows<T>{memory.b + p.radius * M::kPitch + M::kSide, M::kPitch} : Rows<T>{memory.a, kEdge};
}

// A lane has vectors of pixels, one in every kVector-th row of the tile.
template <typename T, int kRadius>
__global__ void __launch_bounds__(kThreads, 1) correlate(const __grid_constant__ CorrelationArguments<T> p) {
  using M = Margins<T, kRadius>;
  constexpr int n = kVector<T>, kAcross = kEdge / n, kLags = 2 * kRadius + 1, kSums = kLags < 8 ? 8 : 16;
  constexpr int kReach = round_up(kRadius, n), kWindow = n + 2 * kReach;
  __shared__ CorrelationMemory<T, kRadius> memory;
  const Tile tile(p.tiles);
  const Rows<T> a = load_both(p, tile, memory);
  const int lane = threadIdx.x % kWarp, column = lane % kAcross * n, warps = blockDim.x / kWarp;
  for (int lag_row = threadIdx.x / kWarp; lag_row < p.rows; lag_row += warps) {
    T sums[kSums] = {};
    for (int row = lane / kAcross; row < tile.rows && column < tile.columns; row += n) {
      T pixels[n], window[kWindow];
      load<n>(a.data + row * a.pitch + column, pixels);
#pragma unroll
      for (int i = 0; i < kWindow; i += n)
        load<n>(memory.b + (row + lag_row) * M::kPitch + M::kSide - kReach + column + i, window + i);
#pragma unroll
      for (int k = 0; k < n; ++k) {
        const T pixel = column + k < tile.columns ? pixels[k] : T(0);
#pragma unroll
        for (int lag = 0; lag < kLags; ++lag) sums[lag] += pixel * window[kReach - kRadius + lag + k];
      }
    }
    const T sum = warp_sums(sums);
    constexpr int kShare = kWarp / kSums;
    const int lag = lane / kShare;
    if (lane % kShare == 0 && lag < kLags) p.parts.of(tile.plane, tile.number)[lag_row * kLags + lag] = sum;
  }
}

// Any radius: a lane has a column of the tile, and the sums of some lags at a time.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1) correlate_any(const __grid_constant__ CorrelationArguments<T> p) {
  using M = Margins<T, kMaxRadius>;
  constexpr int kSums = 8, kShare = kWarp / kSums;
  __shared__ CorrelationMemory<T, kMaxRadius> memory;
  const Tile tile(p.tiles);
  const Rows<T> a = load_both(p, tile, memory);
  const int lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
  const int lags = 2 * p.radius + 1, groups = ceil_divide(lags, kSums);
  for (int job = threadIdx.x / kWarp; job < p.rows * groups; job += warps) {
    const int lag_row = job / groups, first = job % groups * kSums;
    T sums[kSums] = {};
#pragma unroll 2
    for (int row = 0; row < tile.rows; ++row) {
      const T pixel = lane < tile.columns ? a.data[row * a.pitch + lane] : T(0);
      const T* const b = memory.b + (row + lag_row) * M::kPitch + M::kSide - p.radius + lane;
#pragma unroll
      for (int i = 0; i < kSums; ++i) sums[i] += pixel * b[min(first + i, lags - 1)];
    }
    const T sum = warp_sums(sums);
    const int lag = first + lane / kShare;
    if (lane % kShare == 0 && lag < lags) p.parts.of(tile.plane, tile.number)[lag_row * lags + lag] = sum;
  }
}

// ---- Convolution ----------------------------------------------------------------------------------------------------

template <typename T>
struct ConvolutionArguments {
  const T* x;
  const double* taps;
  Tiles tiles;
  int radius;
  T* out;
};

// kTaps: of a row, with what fills it up to whole vectors.
template <typename T, int kRadius, int kTaps>
struct ConvolutionMemory {
  alignas(16) T x[Margins<T, kRadius>::kSize];
  alignas(16) T taps[(2 * kRadius + 1) * kTaps];
};

// Fills the memory; taps in rows of `pitch`.
template <typename T, int kRadius, int kTaps>
__device__ __forceinline__ void load_with_taps(const ConvolutionArguments<T>& p, const Tile& tile, int pitch,
                                               ConvolutionMemory<T, kRadius, kTaps>& memory) {
  const int lags = 2 * p.radius + 1;
  load_tile<Margins<T, kRadius>::kSide>(p.x + p.tiles.plane_offset(tile.plane), p.tiles, tile, p.radius, memory.x);
  const double* const from = p.taps + tile.plane * lags * lags;
  for (int i = threadIdx.x; i < lags * lags; i += blockDim.x) memory.taps[i / lags * pitch + i % lags] = T(from[i]);
  __syncthreads();
}

template <typename T>
__device__ __forceinline__ T* row_of(const ConvolutionArguments<T>& p, const Tile& tile, int row) {
  return p.out + p.tiles.plane_offset(tile.plane) + (tile.y + row) * p.tiles.planes.width + tile.x;
}

// A thread makes a vector in each of two rows.
template <typename T>
constexpr int kConvolveThreads = kEdge * kEdge / kVector<T> / 2;

template <typename T, int kRadius>
__global__ void __launch_bounds__(kConvolveThreads<T>, 1) convolve(const __grid_constant__ ConvolutionArguments<T> p) {
  using M = Margins<T, kRadius>;
  constexpr int n = kVector<T>, kAcross = kEdge / n, kLags = 2 * kRadius + 1, kTaps = round_up(kLags, n);
  constexpr int kReach = round_up(kRadius, n), kWindow = n + 2 * kReach;
  __shared__ ConvolutionMemory<T, kRadius, kTaps> memory;
  const Tile tile(p.tiles);
  load_with_taps(p, tile, kTaps, memory);
  const int column = static_cast<int>(threadIdx.x) % kAcross * n, row = static_cast<int>(threadIdx.x) / kAcross * 2;
  T sums[2][n] = {}, factors[2][kTaps] = {};  // of this row and of the one before
#pragma unroll 2
  for (int step = 0; step <= kLags; ++step) {
    T window[kWindow];
#pragma unroll
    for (int i = 0; i < kWindow; i += n)
      load<n>(memory.x + (row + step) * M::kPitch + M::kSide - kReach + column + i, window + i);
    if (step < kLags) {
#pragma unroll
      for (int i = 0; i < kTaps; i += n) load<n>(memory.taps + step * kTaps + i, factors[0] + i);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (r == 0 ? step == kLags : step == 0) continue;
#pragma unroll
      for (int lag = 0; lag < kLags; ++lag)
#pragma unroll
        for (int k = 0; k < n; ++k) sums[r][k] += factors[r][lag] * window[kReach - kRadius + lag + k];
    }
#pragma unroll
    for (int lag = 0; lag < kLags; ++lag) factors[1][lag] = factors[0][lag];
  }
  if (p.tiles.in_vectors) {
#pragma unroll
    for (int r = 0; r < 2; ++r)
      if (row + r < tile.rows && column < tile.columns) store<n>(row_of(p, tile, row + r) + column, sums[r]);
    return;
  }
  __syncthreads();  // x is done with: the tile goes through it, and lanes along the rows
#pragma unroll
  for (int r = 0; r < 2; ++r) store_shared<n>(memory.x + (row + r) * kEdge + column, sums[r]);
  __syncthreads();
  for (int i = threadIdx.x; i < tile.rows * kEdge; i += kConvolveThreads<T>)
    if (i % kEdge < tile.columns) row_of(p, tile, i / kEdge)[i % kEdge] = memory.x[i];
}

// Any radius: a thread makes pixels of a column.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1) convolve_any(const __grid_constant__ ConvolutionArguments<T> p) {
  using M = Margins<T, kMaxRadius>;
  constexpr int kRows = kEdge / kWarps;
  __shared__ ConvolutionMemory<T, kMaxRadius, 2 * kMaxRadius + 1> memory;
  const Tile tile(p.tiles);
  const int lags = 2 * p.radius + 1;
  load_with_taps(p, tile, lags, memory);
  const int column = threadIdx.x % kWarp, first = threadIdx.x / kWarp;
  T sums[kRows] = {};
  for (int dy = 0; dy < lags; ++dy)
    for (int dx = 0; dx < lags; ++dx) {
      const T* const from = memory.x + (first + dy) * M::kPitch + M::kSide - p.radius + column + dx;
      const T factor = memory.taps[dy * lags + dx];
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[r] += factor * from[r * kWarps * M::kPitch];
    }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = first + r * kWarps;
    if (row < tile.rows && column < tile.columns) row_of(p, tile, row)[column] = sums[r];
  }
}

// ---- Powers ---------------------------------------------------------------------------------------------------------

constexpr int kOwn = 8;  // pixels of a thread
constexpr int kRun = kOwn * kThreads;

// The block's run of pixels of a plane, and the thread's share: vectors where the plane is whole vectors, single
// pixels elsewhere. By the shape alone, so that sums are the same bits wherever the plane lies.
template <typename T>
struct Run {
  static constexpr int n = kVector<T>;
  int64_t plane, number, first;  // pixel of all planes
  int left;                      // pixels that the plane has from there on
  bool by_vectors;

  __device__ __forceinline__ Run(int64_t planes, int64_t pixels)
      : plane(remainder(blockIdx.x, planes)),
        number(quotient(blockIdx.x, planes)),
        first(plane * pixels + number * kRun),
        left(static_cast<int>(min(pixels - number * kRun, int64_t{kRun}))),
        by_vectors(pixels % n == 0) {}
  __device__ __forceinline__ int place(int i) const {
    const int t = threadIdx.x;
    return by_vectors ? i / n * kThreads * n + t * n + i % n : i * kThreads + t;
  }
  __device__ __forceinline__ bool has(int i) const { return place(i) < left; }

  // Pixels that the plane does not have are left alone.
  __device__ __forceinline__ void load_own(const T* from, T (&values)[kOwn]) const {
    from += first;
    const bool in_vectors = by_vectors && is_aligned(from);
#pragma unroll
    for (int i = 0; i < kOwn; i += n) {
      if (in_vectors) {
        if (has(i)) load<n>(from + place(i), values + i);
        continue;
      }
#pragma unroll
      for (int e = i; e < i + n; ++e)
        if (has(e)) values[e] = from[place(e)];
    }
  }
  __device__ __forceinline__ void store_own(T* to, const T (&values)[kOwn]) const {
    to += first;
    const bool in_vectors = by_vectors && is_aligned(to);
#pragma unroll
    for (int i = 0; i < kOwn; i += n) {
      if (in_vectors) {
        if (has(i)) store<n>(to + place(i), values + i);
        continue;
      }
#pragma unroll
      for (int e = i; e < i + n; ++e)
        if (has(e)) to[place(e)] = values[e];
    }
  }
};

template <typename T>
struct PowerArguments {
  const T *x, *weight;
  int64_t planes, pixels;
  Parts parts;
};

// kCount: the powers, rounded up to 4, 8 or 16.
template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads, 1) add_powers(const __grid_constant__ PowerArguments<T> p) {
  constexpr int kShare = kWarp / kCount;
  __shared__ T of_warps[kWarps][kCount];
  const Run<T> run(p.planes, p.pixels);
  T x[kOwn] = {}, weight[kOwn] = {};
  run.load_own(p.x, x);
  if (p.weight != nullptr) run.load_own(p.weight, weight);
  T sums[kCount] = {};
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (!run.has(i)) continue;
    T power = p.weight != nullptr ? weight[i] : T(1);
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      sums[k] += power;
      power *= x[i];
    }
  }
  const T sum = warp_sums(sums);
  const int t = threadIdx.x, lane = t % kWarp;
  if (lane % kShare == 0) of_warps[t / kWarp][lane / kShare] = sum;
  __syncthreads();
  if (t >= p.parts.items) return;
  double total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += of_warps[w][t];
  p.parts.of(run.plane, run.number)[t] = total;
}

template <typename T>
struct PolynomialArguments {
  const T *x, *weight;
  const double* coefficients;
  int64_t planes, pixels;
  int count;
  T* out;
};

template <typename T>
__global__ void __launch_bounds__(kThreads, 1) apply_polynomials(const __grid_constant__ PolynomialArguments<T> p) {
  __shared__ T coefficients[kMaxPowers];
  const Run<T> run(p.planes, p.pixels);
  const int t = threadIdx.x;
  if (t < p.count) coefficients[t] = T(p.coefficients[run.plane * p.count + t]);
  T x[kOwn] = {}, weight[kOwn] = {};
  run.load_own(p.x, x);
  if (p.weight != nullptr) run.load_own(p.weight, weight);
  __syncthreads();
  T values[kOwn];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) values[i] = coefficients[p.count - 1];
  for (int k = p.count - 2; k >= 0; --k) {
    const T coefficient = coefficients[k];
#pragma unroll
    for (int i = 0; i < kOwn; ++i) values[i] = values[i] * x[i] + coefficient;
  }
  if (p.weight != nullptr) {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) values[i] *= weight[i];
  }
  run.store_own(p.out, values);
}

// ---- Phases ---------------------------------------------------------------------------------------------------------

// What a block has of the subbands: a run of complex numbers of one plane, of the bands or of the parents, and where
// its real numbers lie. A thread has n complex numbers, 8 or 16 bytes, in every step.
template <typename T, int n>
struct PhasesRun {
  static constexpr int kSteps = 4;
  static constexpr int kNumbers = n * kThreads * kSteps;
  bool is_parent;
  int64_t plane;       // of (groups, orientations)
  int64_t magnitude;   // where the plane's magnitudes begin
  int64_t real, imag;  // and its real and, of a parent, imaginary parts
  int64_t first;       // pixel
  int left;

  __device__ __forceinline__ explicit PhasesRun(const Subbands<T>& in) {
    const int k = in.orientations, has_parents = in.parents != nullptr;
    const int64_t planes = in.groups * k, all = planes << has_parents, job = remainder(blockIdx.x, all);
    is_parent = job >= planes;
    plane = is_parent ? job - planes : job;
    const int64_t group = quotient(plane, k), orientation = remainder(plane, k);
    magnitude = (group * k * (1 + has_parents) + is_parent * k + orientation) * in.pixels;
    real = (group * k * (1 + 2 * has_parents) + is_parent * k + orientation) * in.pixels;
    imag = real + k * in.pixels;
    first = quotient(blockIdx.x, all) * kNumbers;
    left = static_cast<int>(min(in.pixels - first, int64_t{kNumbers}));
  }
  // Calls visit(pixel) for the first of the thread's n numbers in each step.
  template <typename Visit>
  __device__ __forceinline__ void for_own(Visit visit) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int i = (step * kThreads + static_cast<int>(threadIdx.x)) * n;
      if (i < left) visit(first + i);
    }
  }
};

template <typename T>
struct PhasesArguments {
  Subbands<T> in;
  T *magnitudes, *reals;
};

template <typename T, int n>
__global__ void __launch_bounds__(kThreads, 1) find_phases(const __grid_constant__ PhasesArguments<T> p) {
  const PhasesRun<T, n> run(p.in);
  const T* const from = (run.is_parent ? p.in.parents : p.in.bands) + run.plane * p.in.pixels * 2;
  run.for_own([&](int64_t pixel) {
    T z[2 * n], magnitudes[n], reals[n], imags[n];
    load<2 * n>(from + 2 * pixel, z);
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const Polar<T> own = polar(Complex<T>{z[2 * i], z[2 * i + 1]});
      const Complex<T> twice = doubled(own);
      magnitudes[i] = own.magnitude;
      reals[i] = run.is_parent ? twice.re : z[2 * i];
      imags[i] = twice.im;
    }
    store<n>(p.magnitudes + run.magnitude + pixel, magnitudes);
    store<n>(p.reals + run.real + pixel, reals);
    if (run.is_parent) store<n>(p.reals + run.imag + pixel, imags);
  });
}

template <typename T>
struct PhasesGradientArguments {
  Subbands<T> in;
  const T *magnitudes, *reals;
  T *bands, *parents;
};

template <typename T, int n>
__global__ void __launch_bounds__(kThreads, 1)
    find_phase_gradients(const __grid_constant__ PhasesGradientArguments<T> p) {
  const PhasesRun<T, n> run(p.in);
  const int64_t offset = run.plane * p.in.pixels * 2;
  const T* const from = (run.is_parent ? p.in.parents : p.in.bands) + offset;
  T* const to = (run.is_parent ? p.parents : p.bands) + offset;
  run.for_own([&](int64_t pixel) {
    T z[2 * n], magnitudes[n], reals[n], imags[n], gradients[2 * n];
    load<2 * n>(from + 2 * pixel, z);
    load<n>(p.magnitudes + run.magnitude + pixel, magnitudes);
    load<n>(p.reals + run.real + pixel, reals);
    if (run.is_parent) load<n>(p.reals + run.imag + pixel, imags);
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const Polar<T> own = polar(Complex<T>{z[2 * i], z[2 * i + 1]});
      Complex<T> result;
      if (run.is_parent) {
        result = gradient(own, magnitudes[i], Complex<T>{reals[i], imags[i]});
      } else {
        result = {magnitudes[i] * own.direction.re + reals[i], magnitudes[i] * own.direction.im};
      }
      gradients[2 * i] = result.re;
      gradients[2 * i + 1] = result.im;
    }
    store<2 * n>(to + 2 * pixel, gradients);
  });
}

// ---- Launching ------------------------------------------------------------------------------------------------------

template <typename T>
Tiles tiles_of(const Planes& planes, const T* a, const T* b) {
  const int64_t down = ceil_divide(planes.height, int64_t{kEdge});
  return {planes, down, down * ceil_divide(planes.width, int64_t{kEdge}),
          planes.width % kVector<T> == 0 && is_aligned(a) && is_aligned(b)};
}

int64_t blocks_of(const Tiles& tiles) { return tiles.planes.count * tiles.per_plane; }

int64_t runs_of(const Planes& planes) { return ceil_divide(planes.pixels(), int64_t{kRun}); }

size_t bytes_of(const Parts& parts, int64_t planes) {
  Carver carver(nullptr);
  carver.take<double>(planes * parts.count * parts.pitch());
  return carver.bytes();
}

void add(const Parts& parts, int64_t planes, int items, bool is_symmetric, double* out, Launches& launches) {
  int lanes = kSectorBytes / sizeof(double);
  while (lanes < items && lanes < kWarp) lanes *= 2;
  launches.add(planes * ceil_divide(items, lanes), kAddThreads, add_parts, parts, lanes, items, is_symmetric, out);
}

bool is_radius(int radius) { return 0 <= radius && radius <= kMaxRadius; }
bool is_count(int count) { return 0 < count && count <= kMaxPowers; }

template <typename T>
auto correlation_kernel(int radius) {
  switch (radius) {
    case 1:
      return correlate<T, 1>;
    case 2:
      return correlate<T, 2>;
    case 3:
      return correlate<T, 3>;
    case 4:
      return correlate<T, 4>;
    case 5:
      return correlate<T, 5>;
    case 6:
      return correlate<T, 6>;
    case 7:
      return correlate<T, 7>;
    default:
      return correlate_any<T>;
  }
}

template <typename T>
auto convolution_kernel(int radius) {
  switch (radius) {
    case 1:
      return convolve<T, 1>;
    case 2:
      return convolve<T, 2>;
    case 3:
      return convolve<T, 3>;
    case 4:
      return convolve<T, 4>;
    case 5:
      return convolve<T, 5>;
    case 6:
      return convolve<T, 6>;
    case 7:
      return convolve<T, 7>;
    default:
      return convolve_any<T>;
  }
}

template <typename T>
CorrelationArguments<T> correlation_arguments(const T* a, const T* b, const Planes& planes, int radius,
                                              void* workspace) {
  const Tiles tiles = tiles_of(planes, a, b);
  const int lags = 2 * radius + 1, rows = a == b ? radius + 1 : lags;
  return {a, b, tiles, radius, rows, {static_cast<double*>(workspace), tiles.per_plane, rows * lags}};
}

// As few warps as have as many rounds as 8 would.
int correlation_threads(int rows) { return ceil_divide(rows, ceil_divide(rows, kWarps)) * kWarp; }

template <typename T>
auto power_kernel(int count) {
  return count <= 4 ? add_powers<T, 4> : count <= 8 ? add_powers<T, 8> : add_powers<T, 16>;
}

Parts power_parts(const Planes& planes, int count, void* workspace) {
  return {static_cast<double*>(workspace), runs_of(planes), count};
}

// Calls start(blocks, numbers) with the complex numbers that one access has: two where they are 16 bytes and all planes
// begin at such.
template <typename T, typename Start>
void start_phases(const Subbands<T>& in, bool is_all_aligned, Start start) {
  const auto with = [&]<int n>(std::integral_constant<int, n> numbers) {
    const int64_t runs = ceil_divide(in.pixels, int64_t{PhasesRun<T, n>::kNumbers});
    start(in.groups * in.orientations * (in.parents == nullptr ? 1 : 2) * runs, numbers);
  };
  if constexpr (sizeof(T) == 4) {
    if (is_all_aligned && in.pixels % 2 == 0) return with(std::integral_constant<int, 2>());
  }
  with(std::integral_constant<int, 1>());
}

}  // namespace

template <typename T>
size_t correlation_workspace(const T* a, const T* b, const Planes& planes, int radius) {
  return bytes_of(correlation_arguments(a, b, planes, radius, nullptr).parts, planes.count);
}

template <typename T>
cudaError_t correlation(const T* a, const T* b, const Planes& planes, int radius, double* out, void* workspace,
                        cudaStream_t stream) {
  if (!is_radius(radius)) return cudaErrorInvalidValue;
  const CorrelationArguments<T> arguments = correlation_arguments(a, b, planes, radius, workspace);
  const int lags = 2 * radius + 1;
  Launches launches(stream);
  launches.add(blocks_of(arguments.tiles), correlation_threads(arguments.rows), correlation_kernel<T>(radius),
               arguments);
  add(arguments.parts, planes.count, lags * lags, a == b, out, launches);
  return launches.error();
}

template <typename T>
cudaError_t convolution(const T* x, const double* taps, const Planes& planes, int radius, T* out, cudaStream_t stream) {
  if (!is_radius(radius)) return cudaErrorInvalidValue;
  const ConvolutionArguments<T> arguments{x, taps, tiles_of(planes, x, static_cast<const T*>(out)), radius, out};
  const bool is_compiled = 1 <= radius && radius <= 7;
  Launches launches(stream);
  launches.add(blocks_of(arguments.tiles), is_compiled ? kConvolveThreads<T> : kThreads, convolution_kernel<T>(radius),
               arguments);
  return launches.error();
}

size_t power_sums_workspace(const Planes& planes, int count) {
  return bytes_of(power_parts(planes, count, nullptr), planes.count);
}

template <typename T>
cudaError_t power_sums(const T* x, const T* weight, const Planes& planes, int count, double* out, void* workspace,
                       cudaStream_t stream) {
  if (!is_count(count)) return cudaErrorInvalidValue;
  const PowerArguments<T> arguments{x, weight, planes.count, planes.pixels(), power_parts(planes, count, workspace)};
  Launches launches(stream);
  launches.add(planes.count * arguments.parts.count, kThreads, power_kernel<T>(count), arguments);
  add(arguments.parts, planes.count, count, false, out, launches);
  return launches.error();
}

template <typename T>
cudaError_t polynomial(const T* x, const T* weight, const double* coefficients, const Planes& planes, int count, T* out,
                       cudaStream_t stream) {
  if (!is_count(count)) return cudaErrorInvalidValue;
  const PolynomialArguments<T> arguments{x, weight, coefficients, planes.count, planes.pixels(), count, out};
  Launches launches(stream);
  launches.add(planes.count * runs_of(planes), kThreads, apply_polynomials<T>, arguments);
  return launches.error();
}

template <typename T>
cudaError_t magnitudes_and_phases(const Subbands<T>& in, T* magnitudes, T* reals, cudaStream_t stream) {
  Launches launches(stream);
  const bool is_all_aligned =
      is_aligned(in.bands) && is_aligned(in.parents) && is_aligned(magnitudes) && is_aligned(reals);
  start_phases(in, is_all_aligned, [&](int64_t blocks, auto n) {
    launches.add(blocks, kThreads, find_phases<T, n>, PhasesArguments<T>{in, magnitudes, reals});
  });
  return launches.error();
}

template <typename T>
cudaError_t magnitudes_and_phases_gradient(const Subbands<T>& in, const T* magnitudes, const T* reals, T* bands,
                                           T* parents, cudaStream_t stream) {
  Launches launches(stream);
  const bool is_all_aligned = is_aligned(in.bands) && is_aligned(in.parents) && is_aligned(magnitudes) &&
                              is_aligned(reals) && is_aligned(bands) && is_aligned(parents);
  start_phases(in, is_all_aligned, [&](int64_t blocks, auto n) {
    launches.add(blocks, kThreads, find_phase_gradients<T, n>,
                 PhasesGradientArguments<T>{in, magnitudes, reals, bands, parents});
  });
  return launches.error();
}

#define GENIMG_STATISTICS(T)                                                                                \
  template size_t correlation_workspace(const T*, const T*, const Planes&, int);                            \
  template cudaError_t correlation(const T*, const T*, const Planes&, int, double*, void*, cudaStream_t);   \
  template cudaError_t convolution(const T*, const double*, const Planes&, int, T*, cudaStream_t);          \
  template cudaError_t power_sums(const T*, const T*, const Planes&, int, double*, void*, cudaStream_t);    \
  template cudaError_t polynomial(const T*, const T*, const double*, const Planes&, int, T*, cudaStream_t); \
  template cudaError_t magnitudes_and_phases(const Subbands<T>&, T*, T*, cudaStream_t);                     \
  template cudaError_t magnitudes_and_phases_gradient(const Subbands<T>&, const T*, const T*, T*, T*, cudaStream_t);
GENIMG_STATISTICS(float)
GENIMG_STATISTICS(double)
#undef GENIMG_STATISTICS

}  // namespace genimg::statistics::cuda
