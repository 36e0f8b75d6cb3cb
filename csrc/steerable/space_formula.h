// How the spatial pyramid continues an image beyond its edges, once, for host and device.
//
// An image of n samples a row is continued along each axis by an index map (edge_index). Extend alone is not a product
// of two maps: outside, it is twice the nearest edge sample less the reflected one, both taken in two dimensions.
#pragma once

#include <stdint.h>

#include "common/host_device.h"

namespace genimg::steerable {

// pyrtools' names, in the order of genimg_fast.steerable.space.EDGE_TYPES.
enum class Edge : int {
  reflect1 = 0,      // about the edge sample
  reflect2 = 1,      // about the outer side of the edge sample
  repeat = 2,        // the edge sample
  zero = 3,          // zero
  extend = 4,        // reflect1 about the edge sample's value: keeps the slope
  circular = 5,      // periodic
  dont_compute = 6,  // outputs whose filter overhangs are zero
};
constexpr int kEdges = 7;

GENIMG_HD int64_t clamp_index(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

// The sample of 0 .. n-1 that stands at position i, or -1 for none. For extend, the reflected sample.
GENIMG_HD int64_t edge_index(Edge edge, int64_t i, int64_t n) {
  if (i >= 0 && i < n) return i;
  int64_t j = -1;
  switch (edge) {
    case Edge::reflect1:
    case Edge::extend:
      j = i < 0 ? -i : 2 * (n - 1) - i;
      break;
    case Edge::reflect2:
      j = i < 0 ? -1 - i : 2 * n - 1 - i;
      break;
    case Edge::repeat:
      j = clamp_index(i, n);
      break;
    case Edge::circular:
      j = i < 0 ? i + n : i - n;
      break;
    case Edge::zero:
    case Edge::dont_compute:
      break;
  }
  return j >= 0 && j < n ? j : -1;
}

// The same for the upsampled coefficients that synthesis convolves with a filter of `size` taps. Where the image is
// just as long as the filter, pyrtools counts the middle sample's mirror image at the first edge only.
GENIMG_HD int64_t edge_index_synthesis(Edge edge, int64_t i, int64_t n, int size) {
  const bool mirrors = edge == Edge::reflect1 || edge == Edge::extend;
  return mirrors && n == size && i == n - 1 + size / 2 ? -1 : edge_index(edge, i, n);
}

// What stands at the positions of an axis on which every up-th of n samples is stored and the others are zero.
struct EdgeRule {
  Edge edge = Edge::zero;
  int up = 1;
  int synthesis_size = 0;  // of the filter, where edge_index_synthesis holds
  int64_t blank = 0;       // positions that count as zero at either end
};

GENIMG_HD int64_t stored_index(const EdgeRule& rule, int64_t i, int64_t n) {
  return i < rule.blank || i >= n - rule.blank || i % rule.up != 0 ? -1 : i / rule.up;
}

// The stored sample that stands at position i, or -1 for zero.
GENIMG_HD int64_t sample_index(const EdgeRule& rule, int64_t i, int64_t n) {
  return stored_index(rule,
                      rule.synthesis_size > 0 ? edge_index_synthesis(rule.edge, i, n, rule.synthesis_size)
                                              : edge_index(rule.edge, i, n),
                      n);
}

// The stored sample at the position nearest to i, or -1 for zero.
GENIMG_HD int64_t nearest_index(const EdgeRule& rule, int64_t i, int64_t n) {
  return stored_index(rule, clamp_index(i, n), n);
}

// Whether synthesis is the adjoint of analysis.
GENIMG_HD bool is_self_adjoint(Edge edge) {
  return edge == Edge::zero || edge == Edge::circular || edge == Edge::dont_compute;
}

// Whether samples at even positions are continued at even positions only, so that the zeros between upsampled
// coefficients need not be looked at.
GENIMG_HD bool keeps_parity(Edge edge, int64_t n) {
  return edge == Edge::reflect1 || edge == Edge::zero || edge == Edge::dont_compute ||
         (edge == Edge::circular && n % 2 == 0);
}

}  // namespace genimg::steerable
