// Gram matrices on CUDA. The product of all pairs of channels is cut twice: into tiles of the matrix, of which those
// below the diagonal are left out, and into runs of pixels, because a layer of a network has fewer tiles than a device
// has multiprocessors. A block adds up one tile over one run (cuda_tiles.cuh); a second launch adds the runs in order
// and centres, scales, compares with the target and turns the triangle over while it is at it.
//
// A second launch and not the last block of the first: a layer of 64 channels is one tile, whose hundreds of partial
// sums one multiprocessor alone would have to read; and what blocks of one launch hand to each other is the one thing
// that cannot be proved without a GPU (docs/cuda.md).
//
// Floor: the features are read once, as far as blocks that need the same run find it in the second-level cache;
// partial sums, at most 512 tiles or the triangle itself, are written and read once.
#include "gram/cuda.h"

#include <limits.h>

#include <algorithm>
#include <cstdlib>

#include "common/cuda_launch.h"
#include "gram/cuda_tiles.cuh"

namespace genimg::gram::cuda {
namespace {

constexpr int kPatchSums = kPatch * kPatch;

// ---- The sums of a run of pixels ------------------------------------------------------------------------------------

// The matrix in square cells; where it is symmetric, those below the diagonal are left out.
struct Grid {
  bool is_symmetric = true;
  int64_t edges[2] = {}, count = 0;  // cells along each edge, and all of them
};

struct Cell {
  int64_t edge[2];  // row and column
};

// Cells are numbered one column after another, each down to the diagonal where the matrix is symmetric.
__device__ __forceinline__ Cell cell_of(const Grid& grid, int64_t number) {
  if (!grid.is_symmetric) return {number % grid.edges[0], number / grid.edges[0]};
  int64_t column = static_cast<int64_t>((sqrt(8.0 * number + 1) - 1) / 2);
  while (column * (column + 1) / 2 > number) --column;
  while ((column + 1) * (column + 2) / 2 <= number) ++column;
  return {number - column * (column + 1) / 2, column};
}
__device__ __forceinline__ int64_t cell_number(const Grid& grid, const Cell& cell) {
  return cell.edge[0] + (grid.is_symmetric ? cell.edge[1] * (cell.edge[1] + 1) / 2 : cell.edge[1] * grid.edges[0]);
}

// How a product is cut. A block of add_run works on one tile, one part of the pixels and one item of the batch.
struct Cut {
  int64_t batch = 0, pixels = 0;
  int64_t channels[2] = {};  // of x and y
  Grid tiles, patches;
  int64_t parts = 0, run = 0;
};

// What the runs leave behind.
template <typename T>
struct Partial {
  T* products;     // (batch, patch, part, row, column)
  T* channels[2];  // of x and y, about the pivots: (batch, row of tiles, part, channel)
  T* totals;       // of the squares of the factors: (batch, part)
  T* pivots;       // of x: (batch, channel)
};

template <typename S, typename T>
struct RunArguments {
  Cut cut;
  Operand<S> operands[2];
  PixelFactors<T> factors;
  bool center;
  bool only_channels;  // the tiles are those of the diagonal, and nothing is multiplied
  Partial<T> partial;
};

// What a block of add_run works on.
struct Job {
  int64_t b, tile, part;
  Cell place;
  bool is_diagonal;
  bool wants[2];  // the channels of x and of y: each of them once, next to the diagonal or at an edge of the matrix
};

__device__ __forceinline__ Job job_of(const Cut& cut, bool only_channels) {
  const bool is_symmetric = cut.tiles.is_symmetric;
  const int64_t tiles = only_channels ? cut.tiles.edges[0] : cut.tiles.count;
  Job job{blockIdx.x / tiles / cut.parts, blockIdx.x % tiles, blockIdx.x / tiles % cut.parts, {}, false, {}};
  job.place = only_channels ? Cell{job.tile, job.tile} : cell_of(cut.tiles, job.tile);
  job.is_diagonal = is_symmetric && job.place.edge[0] == job.place.edge[1];
  job.wants[0] = is_symmetric ? job.is_diagonal : job.place.edge[1] == 0;
  job.wants[1] = !is_symmetric && job.place.edge[0] == 0;
  return job;
}

// A value of each channel of a tile, near to its mean: that of its first pixel.
template <typename S, typename T, int kTile>
__device__ __forceinline__ void read_pivots(const RunArguments<S, T>& p, const Job& job, T (&pivots)[2][kTile]) {
  const int i = threadIdx.x % kTile;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    if (static_cast<int>(threadIdx.x) / kTile != side) continue;
    const int64_t channel = job.place.edge[side] * kTile + i;
    T pivot = 0;
    if (channel < p.cut.channels[side]) {
      const Operand<S>& operand = p.operands[side];
      pivot = number_of(operand.data[job.b * operand.batch_stride + operand.rows.offset(channel)]);
      if (side == 0 && job.wants[0] && job.part == 0) p.partial.pivots[job.b * p.cut.channels[0] + channel] = pivot;
    }
    pivots[side][i] = pivot;
  }
}

// sum w x of a channel of each side, and sum w, over a group's part of the pixels.
template <typename T, int kTile>
struct ChannelSums {
  using V = Vector<T>;
  using Slice = Share<T, T, kTile>;
  T sums[3] = {};

  __device__ __forceinline__ void add(const T* x, const T* y, const T* weights) {
    constexpr int depth = Slice::kWords / kGroups;
    const int first = static_cast<int>(threadIdx.x) / kGroupThreads * depth;
#pragma unroll
    for (int k = first; k < first + depth; k += V::size) {
      V weight;
#pragma unroll
      for (int e = 0; e < V::size; ++e) weight.word[e] = 1;
      if (weights != nullptr) weight = load_vector(reinterpret_cast<const V*>(weights + k));
      if (x != nullptr) sums[0] += dot(weight, x + k);
      if (y != nullptr) sums[1] += dot(weight, y + k);
      if (weights == nullptr) continue;
#pragma unroll
      for (int e = 0; e < V::size; ++e) sums[2] += weight.word[e];
    }
  }

 private:
  static __device__ __forceinline__ T dot(const V& weight, const T* slice) {
    const int channel = threadIdx.x % kGroupThreads;
    if (channel >= kTile) return 0;
    const V x = load_vector(reinterpret_cast<const V*>(slice + channel * Slice::kPitch));
    T sum = 0;
#pragma unroll
    for (int e = 0; e < V::size; ++e) sum += weight.word[e] * x.word[e];
    return sum;
  }
};

template <typename S, typename T, int kTile>
__device__ __forceinline__ void write_channels(const RunArguments<S, T>& p, const Job& job,
                                               const ChannelSums<T, kTile>& own, T (&sums)[3][kGroups][kTile]) {
  const int t = threadIdx.x, group = t / kGroupThreads, channel = t % kGroupThreads;
  if (channel < kTile) {
#pragma unroll
    for (int kind = 0; kind < 3; ++kind) sums[kind][group][channel] = own.sums[kind];
  }
  __syncthreads();
  if (t >= kTile) return;
  const auto sum = [&](int kind) {
    T total = 0;
    for (int g = 0; g < kGroups; ++g) total += sums[kind][g][t];
    return total;
  };
  const Cut& cut = p.cut;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    if (!job.wants[side]) continue;
    const int64_t row = (job.b * cut.tiles.edges[side] + job.place.edge[side]) * cut.parts + job.part;
    p.partial.channels[side][row * kTile + t] = sum(side);
  }
  if (job.tile > 0 || t > 0) return;
  const int64_t left = cut.pixels - job.part * cut.run;
  p.partial.totals[job.b * cut.parts + job.part] =
      p.factors.data == nullptr ? static_cast<T>(min(cut.run, left)) : sum(2);
}

// Writes the patches of the block's tile that the matrix has.
template <typename Math>
__device__ __forceinline__ void write_patches(const Cut& cut, const Job& job, const Memory<Math>& memory,
                                              typename Math::Sum* products) {
  using V = Vector<typename Math::Sum>;
  constexpr int edge = Math::kTile / kPatch;
  for (int i = threadIdx.x * V::size; i < edge * edge * kPatchSums; i += kThreads * V::size) {
    const int patch = i / kPatchSums, row = patch / edge, column = patch % edge;
    const Cell cell{job.place.edge[0] * edge + row, job.place.edge[1] * edge + column};
    if (cell.edge[0] >= cut.patches.edges[0] || cell.edge[1] >= cut.patches.edges[1]) continue;
    if (cut.patches.is_symmetric && cell.edge[0] > cell.edge[1]) continue;
    const int64_t number = job.b * cut.patches.count + cell_number(cut.patches, cell);
    const int tile_row = row * kPatch + i % kPatchSums / kPatch, tile_column = column * kPatch + i % kPatch;
    const auto* const from = memory.tile + tile_row * Memory<Math>::kPitch + tile_column;
    store_vector(reinterpret_cast<V*>(products + (number * cut.parts + job.part) * kPatchSums + i % kPatchSums),
                 load_vector(reinterpret_cast<const V*>(from)));
  }
}

template <typename T>
__device__ __forceinline__ const T* factors_of(const PixelFactors<T>& factors, int64_t b, int64_t pixels) {
  return factors.data == nullptr || !factors.batched ? factors.data : factors.data + b * pixels;
}

template <typename Math, typename S>
__global__ void __launch_bounds__(kThreads, kResident)
    add_run(const __grid_constant__ RunArguments<S, typename Math::Sum> p) {
  using T = typename Math::Sum;
  constexpr int kTile = Math::kTile;
  __shared__ Memory<Math> memory;
  __shared__ T pivots[2][kTile];
  __shared__ T channel_sums[3][kGroups][kTile];
  __shared__ Job job;  // not in registers, of which the sums leave few
  if (threadIdx.x == 0) job = job_of(p.cut, p.only_channels);
  __syncthreads();
  if (p.center) read_pivots(p, job, pivots);
  const auto side = [&](int i) {
    const Operand<S>& operand = p.operands[i];
    find_offsets(operand, job.place.edge[i] * kTile, memory.offsets[i]);
    return Side<S, T>{operand, operand.data + job.b * operand.batch_stride, memory.offsets[i],
                      p.center ? pivots[i] : nullptr, false};
  };
  const Side<S, T> x = side(0), y = side(1);
  __syncthreads();
  const int64_t begin = job.part * p.cut.run, end = min(p.cut.pixels, begin + p.cut.run);
  Math sums;
  ChannelSums<T, kTile> own;
  for_slices(x, y, job.is_diagonal, factors_of(p.factors, job.b, p.cut.pixels), begin, end, memory,
             [&](const auto* a, const auto* b, const T* weights) {
               if (!p.only_channels) sums.add(a, b, weights, job.is_diagonal);
               if constexpr (std::is_same_v<typename Math::Word, T>) {
                 if (p.center) own.add(job.wants[0] ? a : nullptr, job.wants[1] ? b : nullptr, weights);
               }
             });
  if (!p.only_channels) {
    add_groups(sums, memory);
    write_patches(p.cut, job, memory, p.partial.products);
  }
  if (p.center) write_channels(p, job, own, channel_sums);
}

// ---- The sums of all runs -------------------------------------------------------------------------------------------

// The sum over the block of what its threads have; for all of them.
template <int warps>
__device__ __forceinline__ double block_sum(double value, double (&warp_sums)[warps]) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) warp_sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  double sum = 0;
#pragma unroll
  for (int w = 0; w < warps; ++w) sum += warp_sums[w];
  return sum;
}

constexpr int kFinishThreads = 512;  // for a patch
constexpr int kPartGroups = kFinishThreads / kPatchSums;

template <typename T>
struct FinishArguments {
  Cut cut;
  Partial<T> partial;
  bool center;
  double scale;
  Output<T> out;
  double* losses;  // what each block adds to out.sums: (batch, block, 2); null where they are not wanted
};

// A patch of the matrix.
struct Patch {
  int64_t b, number;   // of all patches of an item
  int64_t channel[2];  // of the first row and column
  bool is_diagonal;
};

__device__ __forceinline__ Patch patch_of(const Cut& cut) {
  const int64_t number = blockIdx.x % cut.patches.count;
  const Cell cell = cell_of(cut.patches, number);
  return {blockIdx.x / cut.patches.count,
          number,
          {cell.edge[0] * kPatch, cell.edge[1] * kPatch},
          cut.patches.is_symmetric && cell.edge[0] == cell.edge[1]};
}

// What `centered` takes of an element, in this order.
constexpr int kKinds = 4;
struct Sums {
  double of[kKinds] = {};
};

// The sums over the parts of this thread's group, for an element of a patch.
template <typename T, int kTile>
__device__ __forceinline__ Sums add_parts(const FinishArguments<T>& p, const Patch& patch, int row, int column) {
  const Cut& cut = p.cut;
  const T* const products = p.partial.products + (patch.b * cut.patches.count + patch.number) * cut.parts * kPatchSums;
  const auto channels = [&](int side, int64_t channel) {
    const int64_t tile = patch.b * cut.tiles.edges[side] + channel / kTile;
    return p.partial.channels[cut.tiles.is_symmetric ? 0 : side] + tile * cut.parts * kTile + channel % kTile;
  };
  const T *const x = channels(0, patch.channel[0] + row), *const y = channels(1, patch.channel[1] + column);
  const T* const totals = p.partial.totals + patch.b * cut.parts;
  Sums sums;
#pragma unroll 8
  for (int64_t part = threadIdx.x / kPatchSums; part < cut.parts; part += kPartGroups) {
    sums.of[0] += products[part * kPatchSums + row * kPatch + column];
    if (!p.center) continue;
    sums.of[1] += x[part * kTile];
    sums.of[2] += y[part * kTile];
    sums.of[3] += totals[part];
  }
  return sums;
}

// Where an element of a patch lies in shared memory, so that rows and columns are read without conflicts.
__device__ __forceinline__ int patch_slot(int row, int column) { return row * kPatch + (column ^ (row & 4)); }

// The patch's elements, finished, in patch_slot's places; the means on the way.
template <typename T, int kTile>
__device__ __forceinline__ void finish_patch(const FinishArguments<T>& p, const Patch& patch,
                                             double (&shared)[kKinds][kPartGroups][kPatchSums],
                                             T (&values)[kPatchSums]) {
  const int t = threadIdx.x, element = t % kPatchSums, row = element / kPatch, column = element % kPatch;
  const Sums own = add_parts<T, kTile>(p, patch, row, column);
#pragma unroll
  for (int kind = 0; kind < kKinds; ++kind)
    if (kind == 0 || p.center) shared[kind][t / kPatchSums][element] = own.of[kind];
  __syncthreads();
  if (t < kPatchSums) {
    Sums sums;
#pragma unroll
    for (int kind = 0; kind < kKinds; ++kind)
#pragma unroll
      for (int group = 0; group < kPartGroups; ++group)
        if (kind == 0 || p.center) sums.of[kind] += shared[kind][group][element];
    const double product = p.center ? centered(sums.of[0], sums.of[1], sums.of[2], sums.of[3]) : sums.of[0];
    values[patch_slot(row, column)] = static_cast<T>(p.scale * product);
    const int64_t i = patch.channel[0] + row, j = patch.channel[1] + column;
    if (p.center && p.out.means != nullptr && i < p.cut.channels[0] && j == (p.cut.tiles.is_symmetric ? i : 0)) {
      const int64_t at = patch.b * p.cut.channels[0] + i;
      p.out.means[at] = static_cast<T>(p.partial.pivots[at] + (sums.of[3] > 0 ? sums.of[1] / sums.of[3] : 0));
    }
  }
  __syncthreads();
}

// Writes the patch, by the first 64 threads, and its mirror image, by the next; returns what this thread wrote.
template <typename T>
__device__ __forceinline__ T write_patch(const FinishArguments<T>& p, const Patch& patch,
                                         const T (&values)[kPatchSums]) {
  const int side = static_cast<int>(threadIdx.x) / kPatchSums, row = threadIdx.x % kPatchSums / kPatch,
            column = threadIdx.x % kPatch;
  if (side > 1 || (side == 1 && (!p.cut.tiles.is_symmetric || patch.is_diagonal))) return 0;
  const bool is_mirrored = side == 1 || (patch.is_diagonal && row > column);
  const int64_t i = (side == 0 ? patch.channel[0] : patch.channel[1]) + row;
  const int64_t j = (side == 0 ? patch.channel[1] : patch.channel[0]) + column;
  const int64_t rows = p.cut.channels[0], columns = p.cut.channels[1];
  if (i >= rows || j >= columns) return 0;
  const int64_t at = (patch.b * rows + i) * columns + j;
  T value = values[is_mirrored ? patch_slot(column, row) : patch_slot(row, column)];
  if (p.out.target != nullptr) value -= p.out.target[p.out.is_target_batched ? at : i * columns + j];
  p.out.gram[at] = value;
  return value;
}

template <typename T, int kTile>
__global__ void __launch_bounds__(kFinishThreads) finish(const __grid_constant__ FinishArguments<T> p) {
  __shared__ double sums[kKinds][kPartGroups][kPatchSums];
  __shared__ T values[kPatchSums];
  __shared__ double warp_sums[kFinishThreads / kWarp];
  const Patch patch = patch_of(p.cut);
  finish_patch<T, kTile>(p, patch, sums, values);
  const double value = write_patch(p, patch, values);
  if (p.losses == nullptr) return;
  const double squares = block_sum(value * value, warp_sums), absolutes = block_sum(fabs(value), warp_sums);
  if (threadIdx.x < 2) p.losses[int64_t{blockIdx.x} * 2 + threadIdx.x] = threadIdx.x == 0 ? squares : absolutes;
}

// The sums of an item's blocks.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_losses(const double* __restrict__ losses, int64_t blocks, T* __restrict__ sums) {
  __shared__ double warp_sums[kThreads / kWarp];
  double own[2] = {};
  losses += blockIdx.x * blocks * 2;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) {
    const double2 loss = load_vector(reinterpret_cast<const double2*>(losses + 2 * i));
    own[0] += loss.x;
    own[1] += loss.y;
  }
  const double squares = block_sum(own[0], warp_sums), absolutes = block_sum(own[1], warp_sums);
  if (threadIdx.x < 2)
    sums[int64_t{blockIdx.x} * 2 + threadIdx.x] = static_cast<T>(threadIdx.x == 0 ? squares : absolutes);
}

// The means of eight channels, whose parts 32 groups of threads share.
template <typename T, int kTile>
__global__ void __launch_bounds__(kThreads)
    finish_means(const __grid_constant__ Cut cut, const __grid_constant__ Partial<T> partial, T* __restrict__ means) {
  constexpr int groups = kThreads / kPatch;
  __shared__ double sums[2][kThreads];
  const int t = threadIdx.x;
  const int64_t blocks = (cut.channels[0] + kPatch - 1) / kPatch, b = blockIdx.x / blocks;
  const int64_t channel = blockIdx.x % blocks * kPatch + t % kPatch;
  const T* const channels = partial.channels[0] + (b * cut.tiles.edges[0] + channel / kTile) * cut.parts * kTile;
  double sum = 0, total = 0;
  for (int64_t part = t / kPatch; part < cut.parts; part += groups) {
    sum += channels[part * kTile + channel % kTile];
    total += partial.totals[b * cut.parts + part];
  }
  sums[0][t] = sum;
  sums[1][t] = total;
  __syncthreads();
  if (t >= kPatch || channel >= cut.channels[0]) return;
  for (int group = 1; group < groups; ++group) {
    sum += sums[0][group * kPatch + t];
    total += sums[1][group * kPatch + t];
  }
  const int64_t at = b * cut.channels[0] + channel;
  means[at] = static_cast<T>(partial.pivots[at] + (total > 0 ? sum / total : 0));
}

// ---- A matrix applied to features -----------------------------------------------------------------------------------

template <typename T>
struct ApplyArguments {
  Operand<T> matrix, features;  // rows by channels, pixels by channels
  int64_t row_tiles, pixel_tiles;
  PixelFactors<T> factors;
  const T* means;  // of the channels; null for 0
  bool rectified;
  T scale;
  T* out;
};

// What a block of apply_matrix works on.
struct ApplyJob {
  int64_t b, row, pixel;  // the first ones of the tile
};

// The block's tile, written as rows of pixels.
template <typename Math, typename T>
__device__ __forceinline__ void write_pixels(const ApplyArguments<T>& p, const ApplyJob& job,
                                             const Memory<Math>& memory) {
  constexpr int tile = Math::kTile;
  const int64_t rows = p.matrix.rows.count, pixels = p.features.rows.count;
  const int column = threadIdx.x % tile;
  const int64_t pixel = job.pixel + column;
  if (pixel >= pixels) return;
  const T* const factors = factors_of(p.factors, job.b, pixels);
  const T scale = factors == nullptr ? p.scale : p.scale * (factors[pixel] * factors[pixel]);
  const T* const x = p.features.data + job.b * p.features.batch_stride + memory.offsets[1][column];
  for (int row = threadIdx.x / tile; row < tile && job.row + row < rows; row += kThreads / tile) {
    const int64_t i = job.row + row;
    const T value = scale * memory.tile[row * Memory<Math>::kPitch + column];
    const bool is_open = !p.rectified || x[p.features.depth.offset(i)] > 0;
    p.out[(job.b * rows + i) * pixels + pixel] = is_open ? value : 0;
  }
}

template <typename Math>
__global__ void __launch_bounds__(kThreads, kResident)
    apply_matrix(const __grid_constant__ ApplyArguments<typename Math::Sum> p) {
  using T = typename Math::Sum;
  __shared__ Memory<Math> memory;
  __shared__ ApplyJob job;
  if (threadIdx.x == 0)
    job = {blockIdx.x / p.row_tiles / p.pixel_tiles, blockIdx.x % p.row_tiles * Math::kTile,
           blockIdx.x / p.row_tiles % p.pixel_tiles * Math::kTile};
  __syncthreads();
  const int64_t channels = p.matrix.depth.count;
  find_offsets(p.matrix, job.row, memory.offsets[0]);
  find_offsets(p.features, job.pixel, memory.offsets[1]);
  const Side<T, T> left{p.matrix, p.matrix.data + job.b * p.matrix.batch_stride, memory.offsets[0], nullptr, false};
  const Side<T, T> right{p.features, p.features.data + job.b * p.features.batch_stride, memory.offsets[1],
                         p.means == nullptr ? nullptr : p.means + job.b * channels, true};
  __syncthreads();
  Math sums;
  for_slices(left, right, false, static_cast<const T*>(nullptr), 0, channels, memory,
             [&](const T* a, const T* x, const T*) { sums.add(a, x, nullptr, false); });
  add_groups(sums, memory);
  write_pixels(p, job, memory);
}

// ---- Launching ------------------------------------------------------------------------------------------------------

// As many blocks as fill the devices of the day twice, so that what the last ones leave idle is little, and partial
// sums are few. A run is a whole number of slices, of any type.
constexpr int64_t kWantedBlocks = 512;
constexpr int64_t kRunGrain = 64, kShortestRun = 2 * kRunGrain;

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename T>
constexpr int kTile = Plain<T>::kTile;

Grid grid_of(bool is_symmetric, const int64_t (&channels)[2], int64_t cell) {
  Grid grid;
  grid.is_symmetric = is_symmetric;
  for (int side = 0; side < 2; ++side) grid.edges[side] = ceil_divide(channels[side], cell);
  grid.count = is_symmetric ? grid.edges[0] * (grid.edges[0] + 1) / 2 : grid.edges[0] * grid.edges[1];
  return grid;
}

// By the shapes alone, so that the same sums are added in the same order whatever the layout.
template <typename S, typename T>
Cut cut_of(const Features<S>& x, const Features<S>* y, bool only_channels = false) {
  Cut cut;
  cut.batch = x.shape.batch;
  cut.pixels = x.shape.pixels();
  cut.channels[0] = x.shape.channels;
  cut.channels[1] = y == nullptr ? x.shape.channels : y->shape.channels;
  cut.tiles = grid_of(y == nullptr, cut.channels, kTile<T>);
  cut.patches = grid_of(y == nullptr, cut.channels, kPatch);
  const int64_t blocks = std::max<int64_t>(1, cut.batch * (only_channels ? cut.tiles.edges[0] : cut.tiles.count));
  const int64_t wanted = std::min(ceil_divide(kWantedBlocks, blocks), ceil_divide(cut.pixels, kShortestRun));
  cut.run = ceil_divide(ceil_divide(cut.pixels, std::max<int64_t>(1, wanted)), kRunGrain) * kRunGrain;
  cut.parts = cut.run == 0 ? 0 : ceil_divide(cut.pixels, cut.run);
  return cut;
}

template <typename T>
struct ProductMemory {
  Partial<T> partial;
  double* losses;
  ProductMemory(const Cut& cut, bool only_channels, Carver& carver) {
    const int64_t parts = cut.batch * cut.parts;
    partial.products = carver.take<T>(only_channels ? 0 : parts * cut.patches.count * kPatchSums);
    for (int side = 0; side < 2; ++side)
      partial.channels[side] = carver.take<T>(parts * cut.tiles.edges[side] * kTile<T>);
    partial.totals = carver.take<T>(parts);
    partial.pivots = carver.take<T>(cut.batch * cut.channels[0]);
    losses = carver.take<double>(only_channels ? 0 : cut.batch * cut.patches.count * 2);
  }
};

bool is_aligned(int64_t elements, size_t size) { return elements * static_cast<int64_t>(size) % kVectorBytes == 0; }

template <typename S>
Access access_of(const Operand<S>& operand) {
  const bool is_row = operand.rows.line == 0 && operand.depth.line == 0 && operand.depth.stride == 1;
  if (is_row && reinterpret_cast<uintptr_t>(operand.data) % kVectorBytes == 0 &&
      is_aligned(operand.batch_stride, sizeof(S)) && is_aligned(operand.rows.stride, sizeof(S)))
    return Access::vectors;
  return std::abs(operand.depth.stride) <= std::abs(operand.rows.stride) ? Access::along_depth : Access::along_rows;
}

Axis pixel_axis(const Shape& shape, const int64_t* strides) {
  const int64_t rows = strides[2], columns = strides[3], pixels = shape.pixels();
  if (shape.columns == 1) return {pixels, rows};
  if (shape.rows == 1 || rows == shape.columns * columns) return {pixels, columns};
  return {pixels, columns, shape.columns, rows};
}

// Features as an operand: rows are channels, or pixels.
template <typename S>
Operand<S> operand_of(const Features<S>& x, bool rows_are_channels) {
  const Axis channels{x.shape.channels, x.strides[1]}, pixels = pixel_axis(x.shape, x.strides);
  Operand<S> operand{x.data, x.strides[0], rows_are_channels ? channels : pixels,
                     rows_are_channels ? pixels : channels};
  operand.access = access_of(operand);
  return operand;
}

// Instructions for bfloat16 and TF32 came with sm_80.
bool has_instructions() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 8;
}

// How features of type S are multiplied. Halves go through fragments as they are; with factors or means they are no
// halves any more.
template <typename S, typename T>
auto run_kernel(const RunArguments<S, T>& arguments, bool tf32) {
  const bool is_plain = arguments.center || arguments.factors.data != nullptr;
  if constexpr (std::is_same_v<S, Half>) {
    if (!is_plain) return add_run<Fragments<HalfPair>, S>;
  } else if constexpr (std::is_same_v<S, BFloat>) {
    if (!is_plain && has_instructions()) return add_run<Fragments<BFloatPair>, S>;
  } else if constexpr (std::is_same_v<S, float>) {
    if (tf32 && has_instructions()) return add_run<Fragments<TFloat>, S>;
  }
  return add_run<Plain<T>, S>;
}

template <typename S, typename T>
void add_all_runs(const RunArguments<S, T>& arguments, bool tf32, Launches& launches) {
  const Cut& cut = arguments.cut;
  const int64_t tiles = arguments.only_channels ? cut.tiles.edges[0] : cut.tiles.count;
  launches.add(cut.batch * tiles * cut.parts, kThreads, run_kernel(arguments, tf32), arguments);
}

}  // namespace

// ---- The interface --------------------------------------------------------------------------------------------------

template <typename S, typename T>
size_t product_workspace(const Features<S>& x, const Features<S>* y) {
  Carver carver(nullptr);
  ProductMemory<T>(cut_of<S, T>(x, y), false, carver);
  return carver.bytes();
}

template <typename S, typename T>
cudaError_t product(const Features<S>& x, const Features<S>* y, const PixelFactors<T>& factors, const Options& options,
                    const Output<T>& out, void* workspace, cudaStream_t stream) {
  const Cut cut = cut_of<S, T>(x, y);
  if (cut.pixels == 0) return cudaErrorInvalidValue;
  Carver carver(workspace);
  const ProductMemory<T> memory(cut, false, carver);
  const Operand<S> rows = operand_of(x, true), columns = y == nullptr ? rows : operand_of(*y, true);
  Launches launches(stream);
  add_all_runs<S, T>({cut, {rows, columns}, factors, options.center, false, memory.partial}, options.tf32, launches);
  const FinishArguments<T> arguments{
      cut, memory.partial, options.center, options.scale, out, out.sums == nullptr ? nullptr : memory.losses};
  launches.add(cut.batch * cut.patches.count, kFinishThreads, finish<T, kTile<T>>, arguments);
  if (out.sums != nullptr) launches.add(cut.batch, kThreads, add_losses<T>, memory.losses, cut.patches.count, out.sums);
  return launches.error();
}

namespace {

template <typename T>
struct ApplyMemory {
  Cut cut;
  ProductMemory<T> sums;
  T* means;
  ApplyMemory(const Features<T>& x, Carver& carver)
      : cut(cut_of<T, T>(x, nullptr, true)),
        sums(cut, true, carver),
        means(carver.take<T>(cut.batch * cut.channels[0])) {}
};

template <typename T>
const T* find_means(const Features<T>& x, const PixelFactors<T>& factors, void* workspace, Launches& launches) {
  Carver carver(workspace);
  const ApplyMemory<T> memory(x, carver);
  const Cut& cut = memory.cut;
  const Operand<T> operand = operand_of(x, true);
  add_all_runs<T, T>({cut, {operand, operand}, factors, true, true, memory.sums.partial}, false, launches);
  launches.add(cut.batch * ceil_divide(cut.channels[0], kPatch), kThreads, finish_means<T, kTile<T>>, cut,
               memory.sums.partial, memory.means);
  return memory.means;
}

template <typename T>
auto apply_kernel(bool tf32) {
  if constexpr (std::is_same_v<T, float>) {
    if (tf32 && has_instructions()) return apply_matrix<Fragments<TFloat>>;
  }
  return apply_matrix<Plain<T>>;
}

}  // namespace

template <typename T>
size_t apply_workspace(const Features<T>& x, bool center) {
  Carver carver(nullptr);
  if (center) ApplyMemory<T>(x, carver);
  return carver.bytes();
}

template <typename T>
cudaError_t apply(const T* matrix, int64_t matrix_rows, const Features<T>& x, const PixelFactors<T>& factors,
                  bool rectified, const Options& options, T* out, void* workspace, cudaStream_t stream) {
  if (x.shape.pixels() == 0) return cudaErrorInvalidValue;
  const int64_t channels = x.shape.channels;
  Launches launches(stream);
  ApplyArguments<T> arguments;
  arguments.matrix = {matrix, matrix_rows * channels, {matrix_rows, channels}, {channels, 1}};
  arguments.matrix.access = access_of(arguments.matrix);
  arguments.features = operand_of(x, false);
  arguments.row_tiles = ceil_divide(matrix_rows, kTile<T>);
  arguments.pixel_tiles = ceil_divide(x.shape.pixels(), kTile<T>);
  arguments.factors = factors;
  arguments.means = options.center ? find_means(x, factors, workspace, launches) : nullptr;
  arguments.rectified = rectified;
  arguments.scale = static_cast<T>(options.scale);
  arguments.out = out;
  launches.add(x.shape.batch * arguments.row_tiles * arguments.pixel_tiles, kThreads, apply_kernel<T>(options.tf32),
               arguments);
  return launches.error();
}

#define GENIMG_PRODUCT(S, T)                                                                                   \
  template size_t product_workspace<S, T>(const Features<S>&, const Features<S>*);                             \
  template cudaError_t product(const Features<S>&, const Features<S>*, const PixelFactors<T>&, const Options&, \
                               const Output<T>&, void*, cudaStream_t);
GENIMG_PRODUCT(float, float)
GENIMG_PRODUCT(double, double)
GENIMG_PRODUCT(Half, float)
GENIMG_PRODUCT(BFloat, float)
#undef GENIMG_PRODUCT

#define GENIMG_APPLY(T)                                                                                               \
  template size_t apply_workspace(const Features<T>&, bool);                                                          \
  template cudaError_t apply(const T*, int64_t, const Features<T>&, const PixelFactors<T>&, bool, const Options&, T*, \
                             void*, cudaStream_t);
GENIMG_APPLY(float)
GENIMG_APPLY(double)
#undef GENIMG_APPLY

}  // namespace genimg::gram::cuda
