// Which instruction set the kernels use, decided when they first run.
//
// Files named kernels.cpp or *_kernels.cpp are compiled once per level with that level's compiler flags and with
// GENIMG_ISA set to its name; they include no C++ library header (an inline function compiled for AVX-512 could be the
// copy that the linker keeps for every other file) and put what they define into `namespace GENIMG_ISA`.
#pragma once

namespace genimg {

enum class Isa : int {
  baseline = 0,  // what every processor of the architecture has (SSE2, NEON)
  v3 = 1,        // x86-64-v3: AVX2, FMA, F16C
  v4 = 2,        // x86-64-v4: AVX-512 F, BW, CD, DQ, VL
  v4x = 3,       // v4 with AVX512_BF16, VBMI, VBMI2
};

// The best level of this processor, lowered by the environment variable GENIMG_FAST_ISA (baseline, v3, v4, v4x).
Isa active_isa();
const char* isa_name(Isa isa);

}  // namespace genimg
