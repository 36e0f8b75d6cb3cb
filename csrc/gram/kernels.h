// The CPU's inner loops, one table of functions per instruction set (kernels.cpp).
//
// Matrices are packed into panels: kPanel numbers side by side (lanes) at each of many steps, whatever the layout they
// come from. A product of two panels sums over their steps, so that vectors run along lanes and no sum over the lanes
// of a vector is ever needed. For the Gram matrix lanes are channels and steps are pixels; for its derivative lanes are
// pixels and steps are channels.
//
// Few channels would leave most lanes of a panel empty. Where their pixels lie one after another they are multiplied
// where they are: lanes are pixels, and the lanes of each sum are added up once, at the end (Planes).
#pragma once

#include <stdint.h>

#include "gram/formula.h"

namespace genimg::gram {

constexpr int kPanel = 16;

// A part of a matrix of at most kPanel lanes, where it lies.
template <typename S>
struct Strip {
  const S* data;
  int64_t lanes, lane_stride;
  int64_t steps, step_stride;
};

// (x - lane offset - step offset) * lane factor * step factor; null offsets are 0, null factors 1. Those of lanes have
// kPanel entries, offsets 0 past the lanes of the strip.
template <typename T>
struct Weighting {
  const T* lane_offsets = nullptr;
  const T* step_offsets = nullptr;
  const T* lane_factors = nullptr;
  const T* step_factors = nullptr;
};

// Channels, at most kPanel, whose pixels lie one after another.
template <typename T>
struct Planes {
  T* data;
  int64_t stride;  // from one to the next
  int64_t count;
};

// Panels that follow each other.
template <typename E>
struct Panels {
  const E* data;
  int64_t stride;  // from one to the next
  int64_t count;
  int64_t steps;
};

// Where a product of a group of rows goes: out[r * stride + lane], for the rows and lanes that there are.
template <typename T>
struct Tile {
  T* out;
  int64_t stride;
  int64_t rows, lanes;
  const T* gate;  // as packed, at the step of the first row: 0 where it is not positive; null: no gate
};

// A block of at most kPanel x kPanel sums of products and where it goes.
template <typename T>
struct Block {
  const double* products;  // rows `products_stride` apart
  int64_t products_stride;
  int64_t rows, columns;
  const double *row_sums, *column_sums;  // of whole panels; not used where total is 0
  double total;                          // 0: not centred
  double scale;
  T* gram;          // the block's place, in a matrix with rows `stride` apart
  T* mirror;        // that of the transposed block; null: none
  const T* target;  // subtracted; null: 0
  const T* mirror_target;
  int64_t stride;
};

// Of a difference.
struct Losses {
  double squares, absolutes;
};

template <typename T>
struct Kernels {
  // panel[s * kPanel + l], 0 for lanes past those of the strip.
  template <typename S>
  using Pack = void (*)(const Strip<S>& strip, const Weighting<T>& weighting, T* panel);
  Pack<T> pack;
  Pack<Half> pack_half;
  Pack<BFloat> pack_bfloat;
  // sums[r * stride + l] += sum over steps of row_panel[s][r] panels[s][l], for the kPanel lanes r and all l.
  void (*add_products)(const T* row_panel, const Panels<T>& panels, double* sums, int64_t stride);
  // sums[r * kPanel + c] += sum over the pixels of rows[r] columns[c]. Symmetric: both are the same, and only sums with
  // c >= r are wanted.
  void (*add_plane_products)(const Planes<const T>& rows, const Planes<const T>& columns, int64_t pixels,
                             bool symmetric, double* sums);
  // sums[l] += sum over steps of panel[s][l] step_factors[s] (null: 1)
  void (*add_steps)(const T* panel, int64_t steps, const T* step_factors, double* sums);
  // gram = scale * (products, centred) - target; adds to the losses where there is a target.
  void (*write)(const Block<T>& block, Losses& losses);
  // tile = sum over steps of rows[s][r] panels[s][l]; rows: group_rows numbers at each step.
  void (*multiply)(const T* rows, const Panels<T>& panels, const Tile<T>& tile);
  int group_rows;
  // out[r] = sum of matrix[r][c] x[c], at each pixel.
  void (*multiply_planes)(const T* matrix, const Planes<const T>& x, int64_t pixels, const Planes<T>& out);
  // Two steps of bfloat16 as one number, and their products; null where the processor has no instruction for it.
  void (*pack_pairs)(const Strip<BFloat>& strip, uint32_t* panel);
  void (*add_pair_products)(const uint32_t* row_panel, const Panels<uint32_t>& panels, double* sums, int64_t stride);
};

// For this processor (common/isa.h). T is float or double.
template <typename T>
const Kernels<T>& kernels();

}  // namespace genimg::gram
