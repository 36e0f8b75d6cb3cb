// Atomic operations. One thread runs at a time, so plain arithmetic is atomic here.
#pragma once

#include <type_traits>

#include "on_cpu/trace.h"

namespace genimg::cuda_on_cpu {

template <typename T, typename Operation>
T read_modify_write(T* address, Operation operation) {
  const trace::Atomic mark;
  const T old = *address;
  *address = operation(old);
  return old;
}

}  // namespace genimg::cuda_on_cpu

// The types CUDA has these for; second arguments convert to the first's type, as there.
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return static_cast<T>(old + value); });
}
template <typename T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return static_cast<T>(old - value); });
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return value < old ? value : old; });
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return value > old ? value : old; });
}
template <typename T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return old & value; });
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return old | value; });
}
template <typename T>
T atomicXor(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return old ^ value; });
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T) { return value; });
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return ::genimg::cuda_on_cpu::read_modify_write(address, [=](T old) { return old == expected ? value : old; });
}
