// The CPU's inner loops on a tile of the picture, one table of functions per instruction set (kernels.cpp).
#pragma once

#include <stdint.h>

#include "multiview/formula.h"

namespace genimg::multiview {

// A part of the picture; sums over it have `columns` numbers a row, at most kTilePixels in all.
struct Tile {
  int32_t y, x, rows, columns;
};
constexpr int kTilePixels = 2048;

// Where a tile's pixels come from. indices: those of the tile, for views that are not affine; else null.
struct Gather {
  const View* view;
  int32_t height, width;
  Tile tile;
  const int32_t* indices;
};

template <typename T>
struct Kernels {
  using R = typename Real<T>::type;
  // Of one plane: out (rows `width` apart) = factor * in[src]. streams: past the caches; out and its rows are then
  // aligned to 64 bytes, and finish_streams is called in the end.
  void (*copy)(const Gather& gather, const T* in, R factor, bool streams, T* out);
  void (*finish_streams)();
  // sums = or += weight (u + guidance (c - u))[src]; u null: c alone.
  void (*add)(const Gather& gather, const T* u, const T* c, R guidance, R weight, bool is_first, R* sums);
  // Rows of n numbers. x0 = or += weight clipped(expected(x, m)).
  void (*add_expected)(const Step<R>& k, const T* x, const R* m, R limit, R scale, R weight, bool is_first, int64_t n,
                       R* x0);
  // deviation = or += weight exp(...)
  void (*add_deviation)(const Step<R>& k, const R* v, R weight, bool is_first, int64_t n, R* deviation);
  // out = the step. x0 null: made of m and clipped; noise null: none; variance: the learned one, deviation: what it
  // gives; both null: that of the step.
  struct Rows {
    const T* x;
    const R *m, *x0, *variance, *deviation;
    const T* noise;
    T* out;
  };
  void (*finish)(const Step<R>& k, const Rows& rows, R limit, R scale, int64_t n);
  // The whole step at once where all views move rows: n pixels of a row, which each view has from its pointers on,
  // forwards or backwards. u null: no guidance; variance null: none is learned, or no noise added.
  struct RowView {
    const T *u, *c, *variance;
    R guidance, weight, variance_weight;
    bool is_reversed;
  };
  void (*step_rows)(const Step<R>& k, const RowView* views, int count, const T* x, const T* noise, R limit, R scale,
                    int64_t n, T* out);
  void (*convert)(const R* from, int64_t n, T* to);
};

// The indices of a tile's sources.
using FindSources = void (*)(const View& view, int32_t height, int32_t width, const Tile& tile, int32_t* indices);

// For this processor (common/isa.h).
template <typename T>
const Kernels<T>& kernels();
FindSources find_sources();

}  // namespace genimg::multiview
