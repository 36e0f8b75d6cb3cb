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

// Whether an address lies in the library, and in its writable data: static shared memory, to a kernel.
bool in_library(const void* address);
bool in_library_data(const void* address);
// Where in the library's file an instruction stands, as addr2line wants it.
size_t library_offset(const void* instruction);

}  // namespace genimg::cuda_on_cpu
