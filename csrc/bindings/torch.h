// What the torch bindings of all families share: the executor on torch's threads, allocation, dtype dispatch.
//
// Only torch's stable ABI is used: a library built for torch 2.10 runs on every later one. Each family registers
// its operators in its own <family>_torch.cpp with STABLE_TORCH_LIBRARY_FRAGMENT; its schemas stand once, in
// <family>_schema.h, because the CUDA binding is also built for the CPU harness under a namespace of its own.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "common/executor.h"

namespace genimg::bindings {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline Executor torch_executor() {
  return {[](int64_t begin, int64_t end, int64_t grain, Executor::Body body, void* context) {
    torch::stable::parallel_for(begin, end, grain, [&](int64_t b, int64_t e) { body(context, b, e); });
  }};
}

// A contiguous tensor on like's device. Through the C shim: torch::stable::new_empty goes through the boxed dispatcher
// and costs 0.6 us more a call.
inline Tensor empty(const Tensor& like, const int64_t* sizes, int64_t dims, ScalarType dtype) {
  int64_t strides[64];
  int64_t stride = 1;
  for (int64_t d = dims - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= sizes[d] > 0 ? sizes[d] : 1;
  }
  int32_t device_type = 0, device_index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      dims, sizes, strides, torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)), device_type,
      device_index, &handle));
  return Tensor(handle);
}

}  // namespace genimg::bindings
