// What launchers of several families share: parts of a workspace, and launches of which the first error counts.
#pragma once

#include <limits.h>

#include "common/cuda.h"

namespace genimg {

// Parts of a workspace; with none, only its size.
class Carver {
 public:
  explicit Carver(void* workspace) : base_(static_cast<char*>(workspace)) {}
  template <typename T>
  T* take(int64_t count) {
    const size_t begin = bytes_;
    bytes_ += (count * sizeof(T) + 255) / 256 * 256;
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + begin);
  }
  size_t bytes() const { return bytes_; }

 private:
  char* base_;
  size_t bytes_ = 0;
};

// Launches until one fails. A grid without blocks is none; one of more than 2^31 - 1 is refused.
class Launches {
 public:
  explicit Launches(cudaStream_t stream) : stream_(stream) {}
  template <typename... Parameters, typename... Arguments>
  void add(int64_t blocks, int threads, void (*kernel)(Parameters...), const Arguments&... arguments) {
    if (error_ != cudaSuccess || blocks == 0) return;
    error_ = blocks > INT_MAX
                 ? cudaErrorInvalidValue
                 : launch(dim3(static_cast<unsigned>(blocks)), dim3(threads), 0, stream_, kernel, arguments...);
  }
  cudaError_t error() const { return error_; }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace genimg
