# add_isa_sources(<target> <file>...): compiles each file once per instruction set (csrc/common/isa.h), with GENIMG_ISA
# set to the level's name, and adds the objects to the target.
include_guard()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(GENIMG_ISA_LEVELS baseline v3 v4 v4x)
else()
  set(GENIMG_ISA_LEVELS baseline)
endif()
set(GENIMG_ISA_FLAGS_baseline "")
set(GENIMG_ISA_FLAGS_v3 -march=x86-64-v3)
set(GENIMG_ISA_FLAGS_v4 -march=x86-64-v4 -mprefer-vector-width=512)
set(GENIMG_ISA_FLAGS_v4x -march=x86-64-v4 -mprefer-vector-width=512 -mavx512bf16 -mavx512vbmi -mavx512vbmi2)

function(add_isa_sources target)
  foreach(level IN LISTS GENIMG_ISA_LEVELS)
    set(objects ${target}_${level})
    if(NOT TARGET ${objects})
      add_library(${objects} OBJECT)
      target_include_directories(${objects} PRIVATE ${PROJECT_SOURCE_DIR}/csrc)
      target_compile_definitions(${objects} PRIVATE GENIMG_ISA=${level})
      # No errno: a square root is then one instruction. GCC's own AVX-512 headers warn falsely (PR105593).
      target_compile_options(${objects} PRIVATE ${GENIMG_WARNINGS} ${GENIMG_ISA_FLAGS_${level}} -fno-math-errno
                             -fno-trapping-math -Wno-psabi -Wno-uninitialized -Wno-maybe-uninitialized)
      # INTERFACE: an object library hands on its own objects only, so who links it takes these along as sources.
      target_sources(${target} INTERFACE $<TARGET_OBJECTS:${objects}>)
    endif()
    target_sources(${objects} PRIVATE ${ARGN})
  endforeach()
endfunction()
