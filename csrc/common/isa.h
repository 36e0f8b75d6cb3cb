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

// Whether GENIMG_FAST_ISA is unset, empty or the name of a level that this processor has.
bool isa_wish_is_fulfilled();

}  // namespace genimg

// In the namespace of a family: GENIMG_DECLARE_LEVELS declares what each level's file defines, and
// GENIMG_OF_LEVEL(name) is the one of the active level.
#if defined(__x86_64__)
#define GENIMG_DECLARE_LEVELS(...) \
  namespace baseline {             \
  __VA_ARGS__                      \
  }                                \
  namespace v3 {                   \
  __VA_ARGS__                      \
  }                                \
  namespace v4 {                   \
  __VA_ARGS__                      \
  }                                \
  namespace v4x {                  \
  __VA_ARGS__                      \
  }
#define GENIMG_OF_LEVEL(...)                                        \
  (::genimg::active_isa() == ::genimg::Isa::v4x  ? v4x::__VA_ARGS__ \
   : ::genimg::active_isa() == ::genimg::Isa::v4 ? v4::__VA_ARGS__  \
   : ::genimg::active_isa() == ::genimg::Isa::v3 ? v3::__VA_ARGS__  \
                                                 : baseline::__VA_ARGS__)
#else
#define GENIMG_DECLARE_LEVELS(...) \
  namespace baseline {             \
  __VA_ARGS__                      \
  }
#define GENIMG_OF_LEVEL(...) (baseline::__VA_ARGS__)
#endif
