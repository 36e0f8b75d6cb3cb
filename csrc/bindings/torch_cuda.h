// What the CUDA bindings of all families share.
//
// The same binding files are built twice: into the CUDA library, and, over the harness that runs CUDA kernels on the
// host (tests/cuda), into a library that registers the same operators under a namespace of its own for CPU tensors.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "bindings/torch.h"
#include "common/cuda.h"

#if defined(GENIMG_CUDA_ON_CPU)
#define GENIMG_CUDA_NAMESPACE genimg_fast_cuda_on_cpu
#define GENIMG_CUDA_KEY CPU
#else
#define GENIMG_CUDA_NAMESPACE genimg_fast
#define GENIMG_CUDA_KEY CUDA
#endif

// STABLE_TORCH_LIBRARY_IMPL pastes its arguments: these forms expand them first.
#define GENIMG_LIBRARY_IMPL(space, key, m) STABLE_TORCH_LIBRARY_IMPL(space, key, m)
#define GENIMG_LIBRARY_FRAGMENT(space, m) STABLE_TORCH_LIBRARY_FRAGMENT(space, m)

// A stream of the stable C++ interface gives its handle only from torch 2.13 on, this function of libtorch_cuda since
// 2.10. Torch's header declares it only for code that is compiled with all of CUDA.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);

namespace genimg::bindings {

#if defined(GENIMG_CUDA_ON_CPU)
inline cudaStream_t current_stream(const Tensor&) { return nullptr; }
struct DeviceGuard {
  explicit DeviceGuard(const Tensor&) {}
};
#else
inline cudaStream_t current_stream(const Tensor& x) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}
struct DeviceGuard {
  explicit DeviceGuard(const Tensor& x) : guard(x.get_device_index()) {}
  torch::stable::accelerator::DeviceGuard guard;
};
#endif

inline Tensor new_workspace(const Tensor& like, size_t bytes) {
  const int64_t size = static_cast<int64_t>(bytes);
  return empty(like, &size, 1, ScalarType::Byte);
}

inline void check_launch(cudaError_t error, const char* op) {
  STD_TORCH_CHECK(error == cudaSuccess, op, ": the CUDA kernel could not be started: ", cudaGetErrorString(error));
}

}  // namespace genimg::bindings
