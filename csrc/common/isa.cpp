#include "common/isa.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace genimg {
namespace {

Isa best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2"))
    return Isa::baseline;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return Isa::v3;
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vbmi") ||
      !__builtin_cpu_supports("avx512vbmi2"))
    return Isa::v4;
  return Isa::v4x;
#else
  return Isa::baseline;
#endif
}

const char* environment() { return std::getenv("GENIMG_FAST_ISA"); }

Isa detect_isa() {
  const Isa best = best_isa();
  const char* wish = environment();
  if (wish == nullptr) return best;
  for (const Isa isa : {Isa::baseline, Isa::v3, Isa::v4, Isa::v4x})
    if (isa < best && std::strcmp(wish, isa_name(isa)) == 0) return isa;
  return best;
}

}  // namespace

Isa active_isa() {
  static const Isa isa = detect_isa();
  return isa;
}

bool isa_wish_is_fulfilled() {
  const char* wish = environment();
  return wish == nullptr || *wish == '\0' || std::strcmp(wish, isa_name(active_isa())) == 0;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::v4x:
      return "v4x";
    case Isa::v4:
      return "v4";
    case Isa::v3:
      return "v3";
    case Isa::baseline:
      break;
  }
  return "baseline";
}

}  // namespace genimg
