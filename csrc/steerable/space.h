// The steerable pyramid in the spatial domain (Simoncelli & Freeman 1995): direct convolutions with the filters sp0,
// sp1, sp3, sp5 and pyrtools' seven ways to treat the image's edges.
//
// Four linear maps are offered, two pairs of a map and its adjoint:
//   analysis   highpass = hi0 * image; l = lo0 * image; per level: bands = bands * l, l = every second sample of lo * l
//   synthesis  the same filters turned by 180 degrees, from the coarsest level up
// For reflect1, reflect2, repeat and extend synthesis is not the adjoint of analysis: analysis extends its input beyond
// the edges, and so does synthesis with the coefficients, where the adjoint folds what falls beyond the edges back.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/executor.h"
#include "steerable/space_filters.h"
#include "steerable/space_formula.h"

namespace genimg::steerable {

constexpr int kMaxSpaceLevels = 62;

struct SpacePyramid {
  int64_t height = 0, width = 0;  // of the image, no smaller than the filters
  int levels = 0;                 // number of scales, 0 to kMaxSpaceLevels
  int order = 0;                  // of the derivative: 0, 1, 3 or 5; order + 1 orientations
  Edge edge = Edge::reflect1;

  int orientations() const { return order + 1; }
  // Coefficients are numbered: 0 the highpass residual, 1 + level * orientations + orientation, the lowpass last.
  int coefficients() const { return 2 + levels * orientations(); }
  int band(int level, int orientation) const { return 1 + level * orientations() + orientation; }
  int lowpass() const { return coefficients() - 1; }
  // The level whose size coefficient i has; the lowpass residual is at level `levels`.
  int level_of(int i) const { return i == 0 ? 0 : (i - 1) / orientations(); }
};

// How many samples a level keeps of n: every second one at each step.
inline int64_t level_length(int64_t n, int level) {
  for (int i = 0; i < level; ++i) n = (n + 1) / 2;
  return n;
}

// Whether no filter that the pyramid needs is longer than the image it is applied to.
inline bool fits(const SpacePyramid& pyramid) {
  const FilterBank& bank = filter_bank(pyramid.order);
  const int64_t n = std::min(pyramid.height, pyramid.width);
  if (n < std::max(bank.hi0.size, bank.lo0.size)) return false;
  return pyramid.levels == 0 || level_length(n, pyramid.levels - 1) >= std::max(bank.lo.size, bank.bands[0].size);
}

// T is float or double; images are (batch, height, width), coefficient i is (batch, h, w) of its level, all row-major
// and contiguous. coefficients holds pyramid.coefficients() pointers: what is null is not written by analysis, and
// counts as zero in synthesis. Same bits for any executor.
template <typename T>
void space_analysis(const SpacePyramid&, const T* image, int64_t batch, T* const* coefficients, const Executor&);
template <typename T>
void space_synthesis(const SpacePyramid&, const T* const* coefficients, int64_t batch, T* image, const Executor&);

// The adjoint of space_synthesis and of space_analysis.
template <typename T>
void space_synthesis_adjoint(const SpacePyramid&, const T* image, int64_t batch, T* const* coefficients,
                             const Executor&);
template <typename T>
void space_analysis_adjoint(const SpacePyramid&, const T* const* coefficients, int64_t batch, T* image,
                            const Executor&);

}  // namespace genimg::steerable
