# The headers and the umbrella library of the torch in ${Python_EXECUTABLE}, for code on torch's stable ABI.
#
# Gives the target TorchStable::torch. find_package(Torch) would bring CUDA, Kineto and global compiler flags along.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
          "import importlib.util, importlib.metadata; print(importlib.util.find_spec('torch').submodule_search_locations[0], importlib.metadata.version('torch'), sep=';')"
  OUTPUT_VARIABLE torch_location_and_version RESULT_VARIABLE torch_missing ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
if(torch_missing)
  message(FATAL_ERROR "torch was not found by ${Python_EXECUTABLE}: genimg_fast is built against torch >= ${GENIMG_TORCH_TARGET} (pip install torch==2.13.0)")
endif()
list(GET torch_location_and_version 0 TORCH_ROOT)
list(GET torch_location_and_version 1 TORCH_VERSION)
string(REGEX REPLACE "\\+.*" "" TORCH_VERSION "${TORCH_VERSION}")
if(TORCH_VERSION VERSION_LESS ${GENIMG_TORCH_TARGET})
  message(FATAL_ERROR "torch ${TORCH_VERSION} is too old: genimg_fast is built against torch >= ${GENIMG_TORCH_TARGET}")
endif()
message(STATUS "torch ${TORCH_VERSION}: ${TORCH_ROOT}")
add_library(TorchStable::torch SHARED IMPORTED)
set_target_properties(TorchStable::torch PROPERTIES
  IMPORTED_LOCATION "${TORCH_ROOT}/lib/libtorch${CMAKE_SHARED_LIBRARY_SUFFIX}"
  INTERFACE_INCLUDE_DIRECTORIES "${TORCH_ROOT}/include")

# The oldest torch that the libraries run on, as torch's headers want it.
string(REPLACE "." ";" target_version ${GENIMG_TORCH_TARGET})
list(GET target_version 0 major)
list(GET target_version 1 minor)
math(EXPR abi "(${major} << 56) | (${minor} << 48)" OUTPUT_FORMAT HEXADECIMAL)
set_target_properties(TorchStable::torch PROPERTIES INTERFACE_COMPILE_DEFINITIONS TORCH_TARGET_VERSION=${abi})

# A plain shared library of operators: torch.ops.load_library opens it, Python never imports it.
function(add_torch_library name)
  add_library(${name} MODULE ${ARGN})
  set_target_properties(${name} PROPERTIES PREFIX lib)
  target_link_libraries(${name} PRIVATE TorchStable::torch)
  target_link_options(${name} PRIVATE LINKER:--no-as-needed LINKER:--exclude-libs,ALL)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/csrc)
endfunction()
