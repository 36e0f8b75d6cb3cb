// One tile of a product a b^T by one block: what the Gram matrix (both operands are features, rows are channels, depth
// is pixels) and its application (a matrix by features, rows are pixels, depth is channels) have in common.
//
// The depth is walked in slices of 128 bytes a row. A slice of both operands lies in shared memory, while the next one
// is on its way in registers. Rows there are 144 bytes apart: eight neighbouring rows begin in different banks. The
// block's threads are four groups of 64; each multiplies its quarter of a slice's depth into a whole tile of sums, and
// in the end the groups' tiles are added in order.
#pragma once

#include "common/cuda.h"
#include "gram/cuda_fragments.cuh"

namespace genimg::gram::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGroups = 4;
constexpr int kGroupThreads = kThreads / kGroups;
constexpr int kWarp = 32;
constexpr int kResident = 2;  // blocks on a multiprocessor at least: a thread has 128 registers
constexpr int kPatch = 8;     // a tile is made of patches of 8 x 8 sums, and a thread of a group has one sum of each
constexpr int kSliceBytes = 128;
constexpr int kVectorBytes = 16;

// ---- Operands -------------------------------------------------------------------------------------------------------

// Where the elements along one axis lie: one after another, or in lines of which each begins anew.
struct Axis {
  int64_t count = 0, stride = 0;
  int64_t line = 0, line_stride = 0;  // line: 0 for one line
  __device__ __forceinline__ int64_t offset(int64_t i) const {
    return line == 0 ? i * stride : i / line * line_stride + i % line * stride;
  }
};

// How the lanes of a warp share the elements, so that they touch whole sectors.
enum class Access { vectors, along_depth, along_rows };

template <typename S>
struct Operand {
  const S* data = nullptr;
  int64_t batch_stride = 0;
  Axis rows, depth;
  Access access = Access::along_depth;
};

__device__ __forceinline__ float number_of(float x) { return x; }
__device__ __forceinline__ double number_of(double x) { return x; }
__device__ __forceinline__ float number_of(Half x) { return half_to_float(x.bits); }
__device__ __forceinline__ float number_of(BFloat x) { return bfloat_to_float(x.bits); }

// A word of shared memory is a number, or a pair of 16-bit elements as they are.
template <typename Word>
constexpr int elements_of = std::is_same_v<Word, uint32_t> ? 2 : 1;
// Whether words lie in global memory as they do in shared memory.
template <typename S, typename Word>
constexpr bool is_vectorial = sizeof(S) * elements_of<Word> == sizeof(Word);

template <typename Word, int bytes = kVectorBytes>
struct alignas(bytes) Vector {
  static constexpr int size = bytes / sizeof(Word);
  Word word[size];
};

// One operand of one block's tile.
template <typename S, typename T>
struct Side {
  const Operand<S>& operand;
  const S* data;             // of the block's item of the batch
  const int64_t* offsets;    // of the tile's rows, in shared memory; -1 where there is none
  const T* pivots;           // what is subtracted, null for 0: of the tile's rows, 0 where there is none
  bool are_pivots_by_depth;  // ... or of the depths
};

// For all threads of a block; a barrier must follow.
template <typename S, int kTile>
__device__ __forceinline__ void find_offsets(const Operand<S>& operand, int64_t first_row, int64_t (&offsets)[kTile]) {
  for (int i = threadIdx.x; i < kTile; i += kThreads) {
    const int64_t row = first_row + i;
    offsets[i] = row < operand.rows.count ? operand.rows.offset(row) : -1;
  }
}

// A thread's share of a slice of one operand, on its way from global to shared memory. It is turned into words at the
// end of the way, so that nothing waits for a load earlier.
template <typename S, typename Word, int kTile>
class Share {
 public:
  static constexpr int kWords = kSliceBytes / sizeof(Word);
  static constexpr int kPitch = kWords + kVectorBytes / sizeof(Word);

  // The slice of the depth that begins at first; what is not before end is 0.
  template <typename T>
  __device__ __forceinline__ void load(const Side<S, T>& side, int64_t first, int64_t end) {
    if constexpr (is_vectorial<S, Word>) {
      if (side.operand.access == Access::vectors) return load_vectors(side, first, end);
    }
    load_words(side, first, end);
  }

  template <typename T>
  __device__ __forceinline__ void store(const Side<S, T>& side, int64_t first, int64_t end, Word* to) const {
    if constexpr (is_vectorial<S, Word>) {
      if (side.operand.access == Access::vectors) return store_vectors(side, first, end, to);
    }
    store_words(side, first, end, to);
  }

 private:
  static constexpr int kElements = elements_of<Word>;
  using Raw = std::conditional_t<kElements == 2, uint32_t, S>;
  static constexpr int kCount = kTile * kWords / kThreads;
  static constexpr int kVector = Vector<Word>::size;
  static constexpr int kVectors = kWords / kVector;  // in a row
  static_assert(kCount % kVector == 0);

  // A thread has the same word of every kRows-th row, from `row` on, or the same vector.
  struct Place {
    int row, word;
  };
  static constexpr int kRows = kThreads / kWords;
  static __device__ __forceinline__ Place word_place(Access access) {
    const int t = threadIdx.x;
    return access == Access::along_rows ? Place{t % kRows, t / kRows} : Place{t / kWords, t % kWords};
  }
  static constexpr int kVectorRows = kThreads / kVectors;
  static __device__ __forceinline__ Place vector_place() {
    const int t = threadIdx.x;
    return {t / kVectors, t % kVectors * kVector};
  }

  template <typename T>
  __device__ __forceinline__ void load_words(const Side<S, T>& side, int64_t first, int64_t end) {
    const Place place = word_place(side.operand.access);
    const int64_t k = first + place.word * kElements;
    const S* const data = side.data + side.operand.depth.offset(k);
    const S* const neighbour = kElements == 2 ? side.data + side.operand.depth.offset(k + 1) : data;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int64_t row = side.offsets[place.row + kRows * i];
      raw_[i] = {};
      if (row < 0 || k >= end) continue;
      if constexpr (kElements == 2)
        raw_[i] = data[row].bits | (k + 1 < end ? uint32_t{neighbour[row].bits} << 16 : 0);
      else
        raw_[i] = data[row];
    }
  }

  template <typename T>
  __device__ __forceinline__ void store_words(const Side<S, T>& side, int64_t first, int64_t end, Word* to) const {
    const Place place = word_place(side.operand.access);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = place.row + kRows * i;
      to[row * kPitch + place.word] = word_of(raw_[i], side, row, first + place.word, end);
    }
  }

  template <typename T>
  __device__ __forceinline__ void load_vectors(const Side<S, T>& side, int64_t first, int64_t end) {
    const Place place = vector_place();
    const int64_t k = first + place.word * kElements;
#pragma unroll
    for (int i = 0; i < kCount / kVector; ++i) {
      const int64_t row = side.offsets[place.row + kVectorRows * i];
      const S* const from = side.data + row + k;
      Vector<Raw> vector{};
      if (row >= 0 && k + kVector * kElements <= end) {
        vector = load_vector(reinterpret_cast<const Vector<Raw>*>(from));
      } else if (row >= 0) {
#pragma unroll
        for (int e = 0; e < kVector; ++e) vector.word[e] = load_tail(from + e * kElements, end - k - e * kElements);
      }
#pragma unroll
      for (int e = 0; e < kVector; ++e) raw_[i * kVector + e] = vector.word[e];
    }
  }

  // A word, of which as many elements as are left are there.
  static __device__ __forceinline__ Raw load_tail(const S* from, int64_t left) {
    if (left <= 0) return {};
    if constexpr (kElements == 2)
      return from[0].bits | (left > 1 ? uint32_t{from[1].bits} << 16 : 0);
    else
      return from[0];
  }

  template <typename T>
  __device__ __forceinline__ void store_vectors(const Side<S, T>& side, int64_t first, int64_t end, Word* to) const {
    const Place place = vector_place();
#pragma unroll
    for (int i = 0; i < kCount / kVector; ++i) {
      const int row = place.row + kVectorRows * i;
      Vector<Word> vector;
#pragma unroll
      for (int e = 0; e < kVector; ++e)
        vector.word[e] = word_of(raw_[i * kVector + e], side, row, first + place.word + e, end);
      store_vector(reinterpret_cast<Vector<Word>*>(to + row * kPitch + place.word), vector);
    }
  }

  template <typename T>
  static __device__ __forceinline__ Word word_of(Raw raw, const Side<S, T>& side, int row, int64_t k, int64_t end) {
    if constexpr (kElements == 2) {
      return raw;
    } else {
      const Word value = number_of(raw);
      if (side.pivots == nullptr || k >= end) return value;
      return value - (side.are_pivots_by_depth ? side.pivots[k] : side.pivots[row]);
    }
  }

  Raw raw_[kCount] = {};
};

// ---- Sums of a thread -----------------------------------------------------------------------------------------------

// Plain arithmetic in T: thread (y, x) of a group has the sums of the rows y, y + 8, ... and the columns x, x + 8, ...
template <typename T>
class Plain {
 public:
  using Word = T;
  using Sum = T;
  static constexpr int kTile = sizeof(T) == 8 ? 32 : 64;

  // Adds the products of a group's part of a slice; weights, one for each depth, may be null. upper: the patches below
  // the diagonal of the tile are left out.
  __device__ __forceinline__ void add(const T* a, const T* b, const T* weights, bool upper) {
    if (upper)
      add_some<true>(a, b, weights);
    else
      add_some<false>(a, b, weights);
  }

  // Adds the sums to a tile with rows of kPitch, or, for the first group, writes them.
  template <int kPitch>
  __device__ __forceinline__ void add_to(T* tile, bool is_first) const {
#pragma unroll
    for (int r = 0; r < kSums; ++r)
#pragma unroll
      for (int c = 0; c < kSums; ++c) {
        T& sum = tile[(row() + kPatch * r) * kPitch + column() + kPatch * c];
        sum = is_first ? sums_[r][c] : sum + sums_[r][c];
      }
  }

 private:
  using Slice = Share<T, T, kTile>;
  static constexpr int kSums = kTile / kPatch;
  static __device__ __forceinline__ int row() { return threadIdx.x % kGroupThreads / kPatch; }
  static __device__ __forceinline__ int column() { return threadIdx.x % kPatch; }

  template <bool upper>
  __device__ __forceinline__ void add_some(const T* a, const T* b, const T* weights) {
    using V = Vector<T, 8>;  // wider ones would take more registers than there are
    constexpr int depth = Slice::kWords / kGroups;
    const int first = static_cast<int>(threadIdx.x) / kGroupThreads * depth;
#pragma unroll 1
    for (int k = first; k < first + depth; k += V::size) {
      V right[kSums];
#pragma unroll
      for (int c = 0; c < kSums; ++c)
        right[c] = load_vector(reinterpret_cast<const V*>(b + (column() + kPatch * c) * Slice::kPitch + k));
      if (weights != nullptr) {
        const V weight = load_vector(reinterpret_cast<const V*>(weights + k));
#pragma unroll
        for (int c = 0; c < kSums; ++c)
#pragma unroll
          for (int e = 0; e < V::size; ++e) right[c].word[e] *= weight.word[e];
      }
#pragma unroll
      for (int r = 0; r < kSums; ++r) {
        const V left = load_vector(reinterpret_cast<const V*>(a + (row() + kPatch * r) * Slice::kPitch + k));
#pragma unroll
        for (int c = upper ? r : 0; c < kSums; ++c)
#pragma unroll
          for (int e = 0; e < V::size; ++e) sums_[r][c] += left.word[e] * right[c].word[e];
      }
    }
  }

  T sums_[kSums][kSums] = {};
};

// float32 sums of fragments: each of the two warps of a group has 32 rows of the tile, in two fragments of a and eight
// of b.
template <typename Element>
class Fragments {
 public:
  using Word = std::conditional_t<std::is_same_v<Element, TFloat>, float, uint32_t>;
  using Sum = float;
  static constexpr int kTile = 64;

  __device__ __forceinline__ void add(const Word* a, const Word* b, const float* weights, bool) {
    constexpr int pitch = Share<float, Word, kTile>::kPitch;
    const int depth = static_cast<int>(threadIdx.x) / kGroupThreads * 8 + lane() % 4;
    a += (first_row() + lane() / 4) * pitch + depth;
    b += lane() / 4 * pitch + depth;
    uint32_t left[kRows][4];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) left[r][i] = element(a[(16 * r + i % 2 * 8) * pitch + i / 2 * 4], 1.0f);
    const float first_weight = weights == nullptr ? 1.0f : weights[depth];
    const float second_weight = weights == nullptr ? 1.0f : weights[depth + 4];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const uint32_t right[2] = {element(b[8 * c * pitch], first_weight), element(b[8 * c * pitch + 4], second_weight)};
#pragma unroll
      for (int r = 0; r < kRows; ++r) multiply_fragments<Element>(sums_[r][c], left[r], right);
    }
  }

  template <int kPitch>
  __device__ __forceinline__ void add_to(float* tile, bool is_first) const {
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = first_row() + 16 * r + 8 * half + lane() / 4, column = 8 * c + lane() % 4 * 2;
          const auto at = reinterpret_cast<float2*>(tile + row * kPitch + column);
          float2 sum = make_float2(sums_[r][c][2 * half], sums_[r][c][2 * half + 1]);
          if (!is_first) {
            const float2 before = load_vector(at);
            sum = make_float2(before.x + sum.x, before.y + sum.y);
          }
          store_vector(at, sum);
        }
  }

 private:
  static constexpr int kRows = 2, kColumns = 8;
  static __device__ __forceinline__ int lane() { return threadIdx.x % kWarp; }
  static __device__ __forceinline__ int first_row() { return threadIdx.x % kGroupThreads / kWarp * 32; }
  static __device__ __forceinline__ uint32_t element(uint32_t pair, float) { return pair; }
  static __device__ __forceinline__ uint32_t element(float x, float weight) { return round_to_tfloat(weight * x); }

  float sums_[kRows][kColumns][4] = {};
};

// ---- A tile ---------------------------------------------------------------------------------------------------------

template <typename Math>
struct Memory {
  using Word = typename Math::Word;
  using T = typename Math::Sum;
  static constexpr int kTile = Math::kTile;
  static constexpr int kWords = kSliceBytes / sizeof(Word);
  static constexpr int kDepth = kWords * elements_of<Word>;
  static constexpr int kPitch = kTile + kPatch;  // of the tile: rows of a group's sums begin in different banks
  static constexpr int kSlice = kTile * Share<T, Word, kTile>::kPitch;

  union {
    alignas(kVectorBytes) Word slices[2][2][kSlice];
    alignas(kVectorBytes) T tile[kTile * kPitch];  // when the slices are done with
  };
  alignas(kVectorBytes) T weights[2][kWords];
  int64_t offsets[2][kTile];
};

// Calls visit(slice of a, slice of b, weights) for each slice of the depth from begin to end. is_same: b is a. factors:
// whose squares are the weights; null for none.
template <typename Math, typename A, typename B, typename Visit>
__device__ __forceinline__ void for_slices(const Side<A, typename Math::Sum>& a, const Side<B, typename Math::Sum>& b,
                                           bool is_same, const typename Math::Sum* factors, int64_t begin, int64_t end,
                                           Memory<Math>& memory, Visit visit) {
  using M = Memory<Math>;
  using T = typename Math::Sum;
  Share<A, typename M::Word, M::kTile> a_share;
  Share<B, typename M::Word, M::kTile> b_share;
  T factor = 0;
  const auto load = [&](int64_t first) {
    a_share.load(a, first, end);
    if (!is_same) b_share.load(b, first, end);
    const int64_t k = first + threadIdx.x;
    if (factors != nullptr && threadIdx.x < M::kWords) factor = k < end ? factors[k] : 0;
  };
  const auto store = [&](int64_t first, int buffer) {
    a_share.store(a, first, end, memory.slices[buffer][0]);
    if (!is_same) b_share.store(b, first, end, memory.slices[buffer][1]);
    if (factors != nullptr && threadIdx.x < M::kWords) memory.weights[buffer][threadIdx.x] = factor * factor;
  };
  int buffer = 0;
  for (int64_t first = begin;; first += M::kDepth, buffer ^= 1) {
    const bool is_behind = first >= end;
    if (!is_behind) load(first);
    if (first > begin)
      visit(memory.slices[buffer ^ 1][0], memory.slices[buffer ^ 1][is_same ? 0 : 1],
            factors == nullptr ? nullptr : memory.weights[buffer ^ 1]);
    if (!is_behind) store(first, buffer);
    __syncthreads();
    if (is_behind) break;
  }
}

// The sums of all groups, as the memory's tile.
template <typename Math>
__device__ __forceinline__ void add_groups(const Math& sums, Memory<Math>& memory) {
#pragma unroll 1
  for (int group = kGroups - 1; group >= 0; --group) {
    if (static_cast<int>(threadIdx.x) / kGroupThreads == group)
      sums.template add_to<Memory<Math>::kPitch>(memory.tile, group == kGroups - 1);
    __syncthreads();
  }
}

}  // namespace
}  // namespace genimg::gram::cuda
