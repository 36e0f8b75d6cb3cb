// Batches as segments: what the bindings share.
#pragma once

#include <vector>

#include "histogram/histogram.h"

namespace genimg::histogram {

// A contiguous array of `rows` pools; mask is of the same shape, or null.
template <typename T>
struct Rows {
  const T* values = nullptr;
  const uint8_t* mask = nullptr;
  int64_t rows = 0, size = 0;

  Pool<T> operator[](int64_t row) const {
    return {values + row * size, mask == nullptr ? nullptr : mask + row * size, size};
  }
};

// The reference's number of rows divides the source's: row i of the source takes row i % reference.rows. out may be
// source.values.
template <typename T, typename R>
struct Batch {
  Rows<T> source;
  Rows<R> reference;
  T* out = nullptr;
};

// One call of match for any number of batches.
template <typename T, typename R>
class Matching {
 public:
  void add(const Rows<T>& image, const Rows<R>& reference, bool is_sorted, T* out) {
    if (image.rows == 0) return;
    const int64_t first = static_cast<int64_t>(references_.size());
    for (int64_t row = 0; row < reference.rows; ++row) references_.push_back({reference[row], is_sorted});
    for (int64_t row = 0; row < image.rows; ++row)
      segments_.push_back({image[row], first + row % reference.rows, out + row * image.size});
  }

  void run(Method method, const Executor& executor) const {
    match(segments_.data(), static_cast<int64_t>(segments_.size()), references_.data(),
          static_cast<int64_t>(references_.size()), method, executor);
  }

 private:
  std::vector<Segment<T>> segments_;
  std::vector<Reference<R>> references_;
};

// Sorts every row of x into `sorted`, which has its shape.
template <typename T>
void sort_rows(const Rows<T>& x, T* sorted, const Executor& executor) {
  std::vector<Pool<T>> pools;
  std::vector<T*> outputs;
  for (int64_t row = 0; row < x.rows; ++row) {
    pools.push_back(x[row]);
    outputs.push_back(sorted + row * x.size);
  }
  sort(pools.data(), outputs.data(), x.rows, executor);
}

}  // namespace genimg::histogram
