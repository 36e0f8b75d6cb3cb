// Histogram matching: by value (the distribution function's mapping, as scikit-image's) and by rank (the exact
// multiset). formula.h says what the methods compute.
//
// Everything is done on segments: a pool of source pixels that is given the distribution of a pool of reference pixels.
// A batch, the channels of an image or all bands of a pyramid are segments of one call.
//
// Pixels that are NaN or whose mask byte is 0 take no part: source pixels are copied to the output as they are,
// reference pixels are ignored. Where a segment's reference has nothing that takes part, its source is copied.
// Infinities are ordered like numbers, -0 counts as +0. The results are the same bits for any executor and instruction
// set.
#pragma once

#include <cstdint>

#include "common/executor.h"
#include "histogram/formula.h"

namespace genimg::histogram {

// The most values of one pool: 2 * n * m must fit in 63 bits.
constexpr int64_t kMaxPool = int64_t{1} << 31;

// `size` numbers, contiguous. mask: one byte each, 0 for those that take no part; null where all do.
template <typename T>
struct Pool {
  const T* values = nullptr;
  const uint8_t* mask = nullptr;
  int64_t size = 0;
};

// A reference: a pool in any order or, where is_sorted, ascending with NaN at the end for what takes no part (mask
// null).
template <typename T>
struct Reference {
  Pool<T> pool;
  bool is_sorted = false;
};

// out[0..source.size) may be source.values itself. reference: an index; several segments may share a reference, which
// is then sorted once.
template <typename T>
struct Segment {
  Pool<T> source;
  int64_t reference = 0;
  T* out = nullptr;
};

// T is float or double with R = T, or uint8_t or uint16_t with R = T or float; integers are rounded half to even.
template <typename T, typename R>
void match(const Segment<T>* segments, int64_t count, const Reference<R>* references, int64_t reference_count,
           Method method, const Executor& executor);

// Sorted, ascending; numbers that take no part become NaN at the end. T is float or double.
template <typename T>
void sort(const Pool<T>* pools, T* const* sorted, int64_t count, const Executor& executor);

// The derivative of match by the reference is a sparse matrix W, with one or two entries in a row (formula.h): out =
// W reference. It depends on source and reference through their order (and ties) alone. T is float or double.
//   tangent: out = W direction, 0 at pixels that take no part; direction has the reference's size, out the source's
//   adjoint: out = W^T direction; direction has the source's size, out the reference's; references are not shared
template <typename T>
struct LinearSegment {
  Pool<T> source, reference;
  const T* direction = nullptr;
  T* out = nullptr;
};
template <typename T>
void tangent(const LinearSegment<T>* segments, int64_t count, Method method, const Executor& executor);
template <typename T>
void adjoint(const LinearSegment<T>* segments, int64_t count, Method method, const Executor& executor);

}  // namespace genimg::histogram
