// Aligned memory that a kernel needs for a moment.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace genimg {

// n elements of T, 64-byte aligned, not initialised; throws std::bad_alloc.
template <typename T>
class Scratch {
 public:
  explicit Scratch(size_t n) : data_(static_cast<T*>(std::aligned_alloc(64, (n * sizeof(T) + 127) / 64 * 64))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_;
};

}  // namespace genimg
