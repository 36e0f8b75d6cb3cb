// CUDA's words with a meaning on the host, so that .cu files compile with a plain C++ compiler and run without a GPU.
//
// One fiber runs each thread of a block; the blocks of a grid run one after another. What the real thing would punish
// (divergent barriers, shuffles from absent lanes, deadlock, invalid launches, too much shared memory) ends the launch
// with an error. docs/cuda.md says what this proves and what it cannot.
#pragma once

#include "on_cpu/atomics.h"
#include "on_cpu/intrinsics.h"
#include "on_cpu/runtime.h"
#include "on_cpu/vector_types.h"
#include "on_cpu/words.h"
