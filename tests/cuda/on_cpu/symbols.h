// Names of kernels and their static shared memory, from the symbol table of the library they are in.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace genimg::cuda_on_cpu {

struct SharedVariable {
  std::string name;
  char* address;
  size_t bytes;
};

struct KernelSymbols {
  std::string name;  // without parameters
  std::vector<SharedVariable> shared;
  size_t static_shared_bytes = 0;
};

const KernelSymbols& kernel_symbols(const void* kernel);

// Whether an address lies in the writable data of the library: constants, static shared memory.
bool in_library_data(const void* address);

}  // namespace genimg::cuda_on_cpu
