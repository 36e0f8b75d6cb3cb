// The spatial pyramid on CUDA. A block makes a tile of outputs from a tile of inputs in shared memory; a thread makes
// four rows and two neighbouring columns of it, so that a tap serves eight products and a sample as many as there are
// filters. Even and odd columns lie apart in shared memory: the lanes of a warp, two columns apart, read neighbours.
#include "steerable/space_cuda.h"

namespace genimg::steerable {
namespace {

constexpr int kWarp = 32, kWarps = 8, kRows = 4;
constexpr int kTileRows = kWarps * kRows, kTileColumns = 2 * kWarp;
constexpr int kMargin = kMaxFilterSize / 2;  // of the tile in shared memory, whole sectors in global memory
constexpr int kMaxBandSize = 9;
constexpr int kTableSize = kMaxFilterSize + 1;

// From the even to the odd columns of a row in shared memory: half of the banks apart, so that a row is stored without
// conflicts.
template <typename T>
constexpr int kOddColumns = sizeof(T) == 4 ? 48 : 40;
template <typename T>
constexpr int kPitch = 2 * kOddColumns<T>;

template <typename T>
constexpr size_t kSharedBytes = sizeof(T) * kPitch<T> * (kTileRows + 2 * kMargin);

// Filters of one size, at most kMaxBandSize.
template <typename T, int Filters>
struct FilterGroup {
  int size = 0;
  T taps[Filters * kMaxBandSize * kMaxBandSize] = {};
};

// A filter of any size, with a row and a column of zeros before it.
template <typename T>
struct FilterTable {
  int size = 0;
  T taps[kTableSize * kTableSize] = {};

  __host__ __device__ const T* first() const { return taps + kTableSize + 1; }
};

// Positions [origin, origin + (height, width)) of an image of (n_rows, n_columns), in tiles.
struct Geometry {
  int64_t n_rows, n_columns, origin, height, width, tiles_x, tiles_y;
  EdgeRule edges;
};

struct Tile {
  int64_t image, y, x;  // of its first output, in outputs
};

__device__ __forceinline__ Tile tile_of_block(const Geometry& g) {
  const int64_t block = blockIdx.x, row = block / g.tiles_x;
  return {row / g.tiles_y, row % g.tiles_y * kTileRows, block % g.tiles_x * kTileColumns};
}

template <typename T>
__device__ __forceinline__ T stored_sample(const T* image, int64_t y, int64_t x, int64_t width) {
  return y < 0 || x < 0 ? T(0) : image[y * width + x];
}

// What stands at a position of an image that goes on beyond its edges.
template <typename T>
__device__ __forceinline__ T sample(const T* image, const EdgeRule& edges, const Geometry& g, int64_t y, int64_t x) {
  const int64_t width = (g.n_columns + edges.up - 1) / edges.up;
  const T value = stored_sample(image, sample_index(edges, y, g.n_rows), sample_index(edges, x, g.n_columns), width);
  const bool inside = y >= 0 && y < g.n_rows && x >= 0 && x < g.n_columns;
  if (edges.edge != Edge::extend || inside) return value;
  return 2 * stored_sample(image, nearest_index(edges, y, g.n_rows), nearest_index(edges, x, g.n_columns), width) -
         value;
}

template <typename T>
__device__ __forceinline__ const T* image_at(const T* images, const EdgeRule& edges, const Geometry& g, int64_t i) {
  const int64_t up = edges.up;
  return images + i * ((g.n_rows + up - 1) / up) * ((g.n_columns + up - 1) / up);
}

// Fills shared memory with every pitch-th position around a tile: reach rows and kMargin columns beyond it, counted in
// these. Even and odd columns apart for pitch 1, as they are for pitch 2.
template <typename T>
__device__ void load_tile(const T* images, const EdgeRule& edges, const Geometry& g, const Tile& tile, int pitch,
                          int reach, T* shared) {
  const T* const image = image_at(images, edges, g, tile.image);
  const int rows = kTileRows / pitch + 2 * reach, columns = kTileColumns / pitch + 2 * kMargin;
  const int64_t y = (g.origin + tile.y) / pitch - reach, x = (g.origin + tile.x) / pitch - kMargin;
  for (int row = threadIdx.y; row < rows; row += kWarps)
    for (int column = threadIdx.x; column < columns; column += kWarp) {
      const int place = pitch == 1 ? column % 2 * kOddColumns<T> + column / 2 : column;
      shared[row * kPitch<T> + place] = sample(image, edges, g, pitch * (y + row), pitch * (x + column));
    }
  __syncthreads();
}

template <typename T>
__device__ __forceinline__ T shared_sample(const T* row, int column) {
  return row[column % 2 * kOddColumns<T> + column / 2 + threadIdx.x];
}

// Adds to a thread's outputs of each filter; taps are (filter, row, column) with the given strides.
template <int Filters, typename T>
__device__ __forceinline__ void correlate(const T* shared, int reach, const T* taps, int filter_stride, int row_stride,
                                          int size, T (&sum)[Filters][kRows][2]) {
  const int half = size / 2;
  const T* first = shared + (threadIdx.y * kRows + reach - half) * kPitch<T>;
  for (int j = 0; j < size; ++j, first += kPitch<T>) {
    T left[kRows], right[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) left[r] = shared_sample(first + r * kPitch<T>, kMargin - half);
    for (int k = 0; k < size; ++k) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) right[r] = shared_sample(first + r * kPitch<T>, kMargin - half + k + 1);
#pragma unroll
      for (int f = 0; f < Filters; ++f) {
        const T tap = taps[f * filter_stride + j * row_stride + k];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          sum[f][r][0] += left[r] * tap;
          sum[f][r][1] += right[r] * tap;
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) left[r] = right[r];
    }
  }
}

// The outputs at even rows and columns alone.
template <typename T>
__device__ __forceinline__ void correlate_even(const T* shared, int reach, const FilterTable<T>& filter,
                                               T (&sum)[kRows / 2]) {
  const int half = filter.size / 2;
  const T* first = shared + (threadIdx.y * kRows + reach - half) * kPitch<T>;
  for (int j = 0; j < filter.size; ++j, first += kPitch<T>)
    for (int k = 0; k < filter.size; ++k) {
      const T tap = filter.first()[j * kTableSize + k];
#pragma unroll
      for (int r = 0; r < kRows / 2; ++r) sum[r] += shared_sample(first + 2 * r * kPitch<T>, kMargin - half + k) * tap;
    }
}

// Convolves samples that stand at every second position: a thread's rows and columns meet every second tap.
template <typename T>
__device__ __forceinline__ void expand(const T* shared, const FilterTable<T>& filter, T (&sum)[1][kRows][2]) {
  const int half = filter.size / 2, reach = half / 2;
  const T* row = shared + threadIdx.y * (kRows / 2) * kPitch<T> + kMargin - reach + threadIdx.x;
  for (int j = 0; j <= 2 * reach; ++j, row += kPitch<T>)
    for (int k = 0; k <= 2 * reach; ++k) {
      const T* const tap = filter.first() + 2 * j * kTableSize + 2 * k;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const T value = row[r / 2 * kPitch<T> + k];
        sum[0][r][0] += value * tap[-(r % 2) * kTableSize];
        sum[0][r][1] += value * tap[-(r % 2) * kTableSize - 1];
      }
    }
}

// Where outputs go that stand at every step-th position; half > 0: those nearer to an edge of the image are zero.
template <typename T>
struct Target {
  T* data;
  int step, half;
};

template <typename T>
__device__ __forceinline__ void store(const Target<T>& target, const Geometry& g, int64_t image, int64_t y, int64_t x,
                                      T value) {
  const int64_t height = (g.height + target.step - 1) / target.step, width = (g.width + target.step - 1) / target.step;
  if (y >= height || x >= width) return;
  const int64_t row = g.origin + y * target.step, column = g.origin + x * target.step;
  const bool blank = target.half > 0 && (row < target.half || row >= g.n_rows - target.half || column < target.half ||
                                         column >= g.n_columns - target.half);
  target.data[(image * height + y) * width + x] = blank ? T(0) : value;
}

// Each warp's four rows: a lane has two neighbouring columns, but writes one of 32 neighbours at a time.
template <typename T>
__device__ __forceinline__ void store_tile(const Target<T>& target, const Geometry& g, const Tile& tile,
                                           const T (&sum)[kRows][2]) {
  const int lane = threadIdx.x;
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const int from = part * (kWarp / 2) + lane / 2;
      const T even = __shfl_sync(0xffffffffu, sum[r][0], from), odd = __shfl_sync(0xffffffffu, sum[r][1], from);
      store(target, g, tile.image, tile.y + static_cast<int64_t>(threadIdx.y) * kRows + r, tile.x + part * kWarp + lane,
            lane % 2 == 0 ? even : odd);
    }
}

template <typename T, int Filters>
struct AnalysisParameters {
  Geometry geometry;
  const T* image;
  FilterGroup<T, Filters> group;
  Target<T> targets[Filters];  // data null: not wanted
  FilterTable<T> single;
  Target<T> single_target;
};

template <typename T, int Filters>
__global__ void __launch_bounds__(kWarp* kWarps, sizeof(T) * Filters > 32 ? 1 : 2)  // six sums of doubles would spill
    space_analysis_kernel(const __grid_constant__ AnalysisParameters<T, Filters> p) {
  GENIMG_DYNAMIC_SHARED(T, shared);
  const Tile tile = tile_of_block(p.geometry);
  const int reach = max(p.group.size, p.single.size) / 2;
  load_tile(p.image, p.geometry.edges, p.geometry, tile, 1, reach, shared);
  {
    T sum[Filters][kRows][2] = {};
    correlate(shared, reach, p.group.taps, p.group.size * p.group.size, p.group.size, p.group.size, sum);
#pragma unroll
    for (int f = 0; f < Filters; ++f)
      if (p.targets[f].data != nullptr) store_tile(p.targets[f], p.geometry, tile, sum[f]);
  }
  if (p.single_target.data == nullptr) return;
  if (p.single_target.step == 1) {
    T sum[1][kRows][2] = {};
    correlate(shared, reach, p.single.first(), 0, kTableSize, p.single.size, sum);
    store_tile(p.single_target, p.geometry, tile, sum[0]);
  } else {
    T sum[kRows / 2] = {};
    correlate_even(shared, reach, p.single, sum);
    for (int r = 0; r < kRows / 2; ++r)
      store(p.single_target, p.geometry, tile.image, (tile.y + threadIdx.y * kRows) / 2 + r, tile.x / 2 + threadIdx.x,
            sum[r]);
  }
}

template <typename T>
struct SynthesisParameters {
  Geometry geometry;  // edges: of the group's inputs
  FilterGroup<T, kMaxSpaceBands> group;
  const T* inputs[kMaxSpaceBands];  // null: zero
  FilterTable<T> single;
  const T* single_input;
  EdgeRule single_edges;
  bool sparse;  // single_input stands at every second position, beyond the edges too
  Target<T> target;
};

template <typename T>
__global__ void __launch_bounds__(kWarp* kWarps, 2)
    space_synthesis_kernel(const __grid_constant__ SynthesisParameters<T> p) {
  GENIMG_DYNAMIC_SHARED(T, shared);
  const Tile tile = tile_of_block(p.geometry);
  T sum[1][kRows][2] = {};
  if (p.single_input != nullptr) {
    const int reach = p.single.size / 2 / (p.sparse ? 2 : 1);
    load_tile(p.single_input, p.single_edges, p.geometry, tile, p.sparse ? 2 : 1, reach, shared);
    if (p.sparse)
      expand(shared, p.single, sum);
    else
      correlate(shared, reach, p.single.first(), 0, kTableSize, p.single.size, sum);
  }
  for (int f = 0; f < kMaxSpaceBands; ++f) {
    if (p.inputs[f] == nullptr) continue;
    const int size = p.group.size;
    __syncthreads();
    load_tile(p.inputs[f], p.geometry.edges, p.geometry, tile, 1, size / 2, shared);
    correlate(shared, size / 2, p.group.taps + f * size * size, 0, size, size, sum);
  }
  store_tile(p.target, p.geometry, tile, sum[0]);
}

template <typename T>
struct FoldParameters {
  Geometry geometry;  // of full; edges.up: of out
  const T* full;      // every step-th position from geometry.origin on
  int step;
  T* out;
  int64_t count;  // of its samples, over all images
};

// How much of what stands at position (y, x) comes from the stored sample (row, column): the transpose of sample().
GENIMG_HD int sample_weight(const EdgeRule& edges, const Geometry& g, int64_t y, int64_t x, int64_t row,
                            int64_t column) {
  const int sampled = sample_index(edges, y, g.n_rows) == row && sample_index(edges, x, g.n_columns) == column;
  const bool inside = y >= 0 && y < g.n_rows && x >= 0 && x < g.n_columns;
  if (edges.edge != Edge::extend || inside) return sampled;
  return 2 * (nearest_index(edges, y, g.n_rows) == row && nearest_index(edges, x, g.n_columns) == column) - sampled;
}

// Position number i of those that may hold a copy of position p: itself, then all beyond the edges, if p is near one.
GENIMG_HD int64_t copy_position(int i, int64_t p, int64_t n) {
  return i == 0 ? p : i <= kMargin ? -i : n - 1 + (i - kMargin);
}
GENIMG_HD int copies(int64_t p, int64_t n) { return p <= kMargin || p >= n - 1 - kMargin ? 1 + 2 * kMargin : 1; }

template <typename T>
__global__ void __launch_bounds__(kWarp* kWarps, 2) space_fold_kernel(const __grid_constant__ FoldParameters<T> p) {
  const Geometry& g = p.geometry;
  const int64_t up = g.edges.up, height = (g.n_rows + up - 1) / up, width = (g.n_columns + up - 1) / up;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * (kWarp * kWarps) + threadIdx.y * kWarp + threadIdx.x;
  if (index >= p.count) return;
  const int64_t column = index % width, row = index / width % height;
  const int64_t full_height = (g.height + p.step - 1) / p.step, full_width = (g.width + p.step - 1) / p.step;
  const T* const full = p.full + index / width / height * full_height * full_width;
  T sum = 0;
  for (int i = 0; i < copies(row * up, g.n_rows); ++i)
    for (int j = 0; j < copies(column * up, g.n_columns); ++j) {
      const int64_t y = copy_position(i, row * up, g.n_rows), x = copy_position(j, column * up, g.n_columns);
      const int64_t from_y = (y - g.origin) / p.step, from_x = (x - g.origin) / p.step;
      if ((y - g.origin) % p.step != 0 || (x - g.origin) % p.step != 0 || from_y >= full_height || from_x >= full_width)
        continue;
      const int weight = sample_weight(g.edges, g, y, x, row, column);
      if (weight != 0) sum += weight * full[from_y * full_width + from_x];
    }
  p.out[index] = sum;
}

// ---------------------------------------------------------------------------------------------------------------------
// The host's side
// ---------------------------------------------------------------------------------------------------------------------

template <typename T, int Filters>
void set_filter(FilterGroup<T, Filters>& group, int index, const Filter& filter, bool turned) {
  group.size = filter.size;
  T* taps = group.taps + index * filter.size * filter.size;
  for (int y = 0; y < filter.size; ++y)
    for (int x = 0; x < filter.size; ++x)
      *taps++ = static_cast<T>(turned ? filter.taps[filter.size - 1 - y][filter.size - 1 - x] : filter.taps[y][x]);
}

// hi0 and lo, which stay the same when turned.
template <typename T>
FilterTable<T> table_of(const Filter& filter) {
  FilterTable<T> table;
  table.size = filter.size;
  for (int y = 0; y < filter.size; ++y)
    for (int x = 0; x < filter.size; ++x) table.taps[(y + 1) * kTableSize + x + 1] = static_cast<T>(filter.taps[y][x]);
  return table;
}

// A pyramid's launches; after the first error nothing more is started.
template <typename T>
class Launches {
 public:
  Launches(const SpacePyramid& pyramid, bool adjoint, int64_t batch, T* workspace, cudaStream_t stream)
      : p_(pyramid),
        bank_(filter_bank(pyramid.order)),
        folds_(adjoint && !is_self_adjoint(pyramid.edge)),
        batch_(batch),
        stream_(stream) {
    lows_[0] = workspace;
    lows_[1] = lows_[0] + size(0, 0);
    full_ = lows_[1] + size(1, 0);
  }

  static int64_t workspace_size(const SpacePyramid& pyramid, bool adjoint, int64_t batch) {
    Launches sizes(pyramid, adjoint, batch, nullptr, nullptr);
    const int64_t full = sizes.folds_ ? (pyramid.orientations() + 1) * sizes.size(0, kMargin) : 0;
    return sizes.size(0, 0) + sizes.size(1, 0) + full;
  }

  cudaError_t analyze(const T* image, T* const* out) {
    int deepest = p_.lowpass();
    while (deepest > 0 && out[deepest] == nullptr) --deepest;
    T* low = deepest == 0 ? nullptr : p_.levels == 0 ? out[p_.lowpass()] : lows_[0];
    analyze_level<1>(image, 0, &bank_.lo0, &low, bank_.hi0, out[0], 1);
    for (int level = 0; level < p_.levels && deepest >= p_.band(level, 0); ++level) {
      T* next = level + 1 == p_.levels ? out[p_.lowpass()] : lows_[(level + 1) % 2];
      if (deepest < p_.band(level + 1, 0)) next = nullptr;
      T* const* const bands = out + p_.band(level, 0);
      switch (p_.order) {
        case 0:
          analyze_level<1>(low, level, bank_.bands, bands, bank_.lo, next, 2);
          break;
        case 1:
          analyze_level<2>(low, level, bank_.bands, bands, bank_.lo, next, 2);
          break;
        case 3:
          analyze_level<4>(low, level, bank_.bands, bands, bank_.lo, next, 2);
          break;
        default:
          analyze_level<6>(low, level, bank_.bands, bands, bank_.lo, next, 2);
      }
      low = next;
    }
    return error_;
  }

  cudaError_t synthesize(const T* const* in, T* image) {
    const T* low = in[p_.lowpass()];
    for (int level = p_.levels - 1; level >= 0; --level) {
      bool any = low != nullptr;
      for (int b = 0; b < p_.orientations(); ++b) any = any || in[p_.band(level, b)] != nullptr;
      if (!any) continue;
      synthesize_level(in + p_.band(level, 0), bank_.bands, p_.orientations(), low, bank_.lo, 2, level,
                       lows_[level % 2]);
      low = lows_[level % 2];
    }
    synthesize_level(&low, &bank_.lo0, 1, in[0], bank_.hi0, 1, 0, image);
    return error_;
  }

 private:
  int64_t height(int level) const { return level_length(p_.height, level); }
  int64_t width(int level) const { return level_length(p_.width, level); }
  int64_t size(int level, int64_t margin) const {
    return batch_ * (height(level) + 2 * margin) * (width(level) + 2 * margin);
  }

  Geometry geometry(int level, const EdgeRule& edges) const {
    const int64_t margin = folds_ ? kMargin : 0, rows = height(level) + 2 * margin, columns = width(level) + 2 * margin;
    return {height(level),
            width(level),
            -margin,
            rows,
            columns,
            (columns + kTileColumns - 1) / kTileColumns,
            (rows + kTileRows - 1) / kTileRows,
            edges};
  }

  template <typename Parameters>
  void start(void (*kernel)(Parameters), int64_t blocks, size_t shared, const Parameters& parameters) {
    if (error_ != cudaSuccess) return;
    if (blocks > INT32_MAX) {
      error_ = cudaErrorInvalidValue;
      return;
    }
    error_ = launch(dim3(static_cast<unsigned>(blocks)), dim3(kWarp, kWarps), shared, stream_, kernel, parameters);
  }

  int64_t blocks(const Geometry& g) const { return batch_ * g.tiles_x * g.tiles_y; }

  template <int Filters>
  void analyze_level(const T* image, int level, const Filter* filters, T* const* out, const Filter& single,
                     T* single_out, int single_step) {
    const bool dense = folds_ && !(keeps_parity(p_.edge, height(level)) && keeps_parity(p_.edge, width(level)));
    const auto half = [&](const Filter& filter) { return p_.edge == Edge::dont_compute ? filter.size / 2 : 0; };
    AnalysisParameters<T, Filters> p;
    p.geometry = geometry(level, {.edge = folds_ ? Edge::zero : p_.edge});
    p.image = image;
    p.single = table_of<T>(single);
    for (int f = 0; f < Filters; ++f) {
      set_filter(p.group, f, filters[f], false);
      p.targets[f] = {folds_ && out[f] != nullptr ? full_ + (f + 1) * size(level, kMargin) : out[f], 1,
                      half(filters[f])};
    }
    p.single_target = {folds_ && single_out != nullptr ? full_ : single_out, dense ? 1 : single_step, half(single)};
    start(&space_analysis_kernel<T, Filters>, blocks(p.geometry), kSharedBytes<T>, p);
    if (!folds_) return;
    for (int f = 0; f < Filters; ++f) fold(p.geometry, p.targets[f], {p_.edge, 1, filters[f].size}, out[f]);
    fold(p.geometry, p.single_target, {p_.edge, single_step, single.size}, single_out);
  }

  void synthesize_level(const T* const* in, const Filter* filters, int count, const T* single_in, const Filter& single,
                        int single_up, int level, T* out) {
    const auto edges = [&](const Filter& filter, int up) -> EdgeRule {
      return {folds_ ? Edge::zero : p_.edge, up, filter.size, p_.edge == Edge::dont_compute ? filter.size / 2 : 0};
    };
    SynthesisParameters<T> p;
    p.geometry = geometry(level, edges(filters[0], 1));
    for (int f = 0; f < kMaxSpaceBands; ++f) {
      p.inputs[f] = f < count ? in[f] : nullptr;
      if (f < count) set_filter(p.group, f, filters[f], true);
    }
    p.single = table_of<T>(single);
    p.single_input = single_in;
    p.single_edges = edges(single, single_up);
    p.sparse =
        single_up == 2 && (folds_ || (keeps_parity(p_.edge, height(level)) && keeps_parity(p_.edge, width(level))));
    p.target = {folds_ ? full_ : out, 1, 0};
    start(&space_synthesis_kernel<T>, blocks(p.geometry), kSharedBytes<T>, p);
    if (folds_) fold(p.geometry, p.target, {p_.edge}, out);
  }

  void fold(Geometry g, const Target<T>& full, const EdgeRule& edges, T* out) {
    if (out == nullptr) return;
    g.edges = edges;
    const int64_t up = edges.up, count = batch_ * ((g.n_rows + up - 1) / up) * ((g.n_columns + up - 1) / up);
    const int64_t threads = kWarp * kWarps;
    start(&space_fold_kernel<T>, (count + threads - 1) / threads, 0,
          FoldParameters<T>{g, full.data, full.step, out, count});
  }

  const SpacePyramid& p_;
  const FilterBank& bank_;
  const bool folds_;
  const int64_t batch_;
  T *lows_[2], *full_;
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace

int64_t space_workspace_size(const SpacePyramid& pyramid, int64_t batch, bool adjoint) {
  return Launches<float>::workspace_size(pyramid, adjoint, batch);
}

template <typename T>
cudaError_t launch_space_analysis(const SpacePyramid& pyramid, bool adjoint, const T* image, int64_t batch,
                                  T* const* coefficients, T* workspace, cudaStream_t stream) {
  return Launches<T>(pyramid, adjoint, batch, workspace, stream).analyze(image, coefficients);
}

template <typename T>
cudaError_t launch_space_synthesis(const SpacePyramid& pyramid, bool adjoint, const T* const* coefficients,
                                   int64_t batch, T* image, T* workspace, cudaStream_t stream) {
  return Launches<T>(pyramid, adjoint, batch, workspace, stream).synthesize(coefficients, image);
}

#define GENIMG_INSTANTIATE(T)                                                                              \
  template cudaError_t launch_space_analysis(const SpacePyramid&, bool, const T*, int64_t, T* const*, T*,  \
                                             cudaStream_t);                                                \
  template cudaError_t launch_space_synthesis(const SpacePyramid&, bool, const T* const*, int64_t, T*, T*, \
                                              cudaStream_t);
GENIMG_INSTANTIATE(float)
GENIMG_INSTANTIATE(double)
#undef GENIMG_INSTANTIATE

}  // namespace genimg::steerable
