// The filters of a pyramid as the kernels of the fused transform want them; for one call of analysis or synthesis.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/executor.h"
#include "common/scratch.h"
#include "steerable/freq.h"
#include "steerable/freq_kernels.h"
#include "steerable/masks.h"
#include "steerable/table_cache.h"

namespace genimg::steerable {

inline int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }
inline int64_t ceil_to(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }
// Rows of half a spectrum, the row at half the sampling rate riding in the first (freq_kernels.h).
inline int64_t half_rows(int64_t height) { return (height + 1) / 2; }

// The frequencies that the filters of a level let through: those of the level's band where it is not oversampled.
inline Size support_of(const Pyramid& p, int level) {
  return {level_length(p.height, level, 0), level_length(p.width, level, 0)};
}

template <typename T>
class FilterBank {
 public:
  // For the coefficients that are there, times their scales; `C` is T or const T.
  template <typename C>
  FilterBank(const Pyramid& pyramid, const Coefficients<C>& coefficients, const FreqKernels<T>& kernels,
             const Executor& executor);

  const Filter<T>& highpass() const { return entries_[entry_of(Kind::highpass, 0)].filter; }
  const Filter<T>& lowpass() const { return entries_[entry_of(Kind::lowpass, p_.levels)].filter; }
  const Filter<T>& reconstruction(int level) const { return entries_[entry_of(Kind::reconstruction, level)].filter; }
  // `table` keeps masks that are no product of a radial and an angular factor, until the next call.
  Filter<T> band(int level, int orientation, bool hilbert, std::vector<T>& table, const Executor& executor) const;

  // The highpass mask is 1 on the row h/2, which shares a lane with row 0. This filters that lane for both of them;
  // highpass() passes it on.
  void filter_first_row(T* spectrum) const;

 private:
  using Kind = typename RadialTable<T>::Kind;
  struct Entry {
    Filter<T> filter;
    std::vector<FilterColumn<T>> columns;
    double scale = 0;
  };

  // Bands, residuals, reconstructions.
  size_t entry_of(Kind kind, int level) const {
    const int first_residual = p_.levels, first_reconstruction = p_.levels + 2;
    switch (kind) {
      case Kind::highpass:
        return static_cast<size_t>(first_residual);
      case Kind::lowpass:
        return static_cast<size_t>(first_residual + 1);
      case Kind::reconstruction:
        return static_cast<size_t>(first_reconstruction + level);
      case Kind::band:
        break;
    }
    return static_cast<size_t>(level);
  }
  int64_t blocks_of(int level) const { return ceil_div(half_rows(support_of(p_, level).height), k_.lanes); }
  // Masks that are a radial factor times an angular one need one quarter of the plane.
  bool has_table(Kind kind) const { return p_.masks == Masks::exact || kind != Kind::band; }
  int64_t table_width(Kind kind, int level) const {
    const int64_t width = support_of(p_, level).width;
    return 1 + (has_table(kind) ? width / 2 + 1 : width);
  }
  int64_t table_size(Kind kind, int level) const {
    return has_table(kind) ? blocks_of(level) * table_width(kind, level) * k_.lanes : 0;
  }
  // Calls visit(kind, level, scale) for each filter of the coefficients that are there; the highpass comes last.
  template <typename C, typename Visit>
  void for_each_filter(const Coefficients<C>& coefficients, Visit visit) const;
  template <typename C>
  size_t total_size(const Coefficients<C>& coefficients) const;

  void add(Kind kind, int level, double scale, T* table, const Executor& executor);
  void make_exact_table(Kind kind, int level, double scale, T* table, const Executor& executor) const;

  // One of pyrtools' masks.
  struct Mask {
    Kind kind;
    int level;
    double scale;
    int orientation = 0;
    bool hilbert = false;
  };
  typename TableCache<T>::Key key_of(const Mask& mask) const;
  double value_of(const Mask& mask, int64_t kx, int64_t ky) const;
  void make_table(const Mask& mask, T* table, const Executor& executor) const;
  void compute_table(const Mask& mask, T* table, const Executor& executor) const;

  const Pyramid& p_;
  const FreqKernels<T>& k_;
  const MaskParameters<double> masks_;
  std::vector<Entry> entries_;  // see entry_of
  Scratch<T> tables_;
  std::vector<T> first_row_;
};

template <typename T>
template <typename C>
FilterBank<T>::FilterBank(const Pyramid& pyramid, const Coefficients<C>& coefficients, const FreqKernels<T>& kernels,
                          const Executor& executor)
    : p_(pyramid),
      k_(kernels),
      masks_(mask_parameters<double>(pyramid)),
      entries_(entry_of(Kind::reconstruction, pyramid.levels) + 1),
      tables_(total_size(coefficients)) {
  T* table = tables_.get();
  for_each_filter(coefficients, [&](Kind kind, int level, double scale) {
    add(kind, level, scale, table, executor);
    table += table_size(kind, level);
  });
  if (coefficients.highpass == nullptr) return;
  T* const highpass_table = table - table_size(Kind::highpass, 0);
  for (int64_t k = 0; k <= p_.width / 2; ++k) {
    first_row_.push_back(highpass_table[k * k_.lanes]);
    highpass_table[k * k_.lanes] = 1;
  }
}

template <typename T>
template <typename C, typename Visit>
void FilterBank<T>::for_each_filter(const Coefficients<C>& c, Visit visit) const {
  for (int level = 0; level < p_.levels; ++level)
    if (c.bands[level] != nullptr) visit(Kind::band, level, c.band_scale[level]);
  for (int level = 0; level <= p_.levels; ++level)
    if (c.reconstructions[level] != nullptr) visit(Kind::reconstruction, level, c.reconstruction_scale[level]);
  if (c.lowpass != nullptr) visit(Kind::lowpass, p_.levels, c.lowpass_scale);
  if (c.highpass != nullptr) visit(Kind::highpass, 0, c.highpass_scale);
}

template <typename T>
template <typename C>
size_t FilterBank<T>::total_size(const Coefficients<C>& coefficients) const {
  int64_t size = 0;
  for_each_filter(coefficients, [&](Kind kind, int level, double) { size += table_size(kind, level); });
  return static_cast<size_t>(size);
}

template <typename T>
void FilterBank<T>::add(Kind kind, int level, double scale, T* table, const Executor& executor) {
  const Size support = support_of(p_, level);
  const int64_t width = table_width(kind, level);
  const int64_t length = kind == Kind::highpass ? p_.width : level_size(p_, level).width;
  Entry& entry = entries_[entry_of(kind, level)];
  entry.scale = scale;
  for (int64_t i = 0; i < length; ++i) {
    const int64_t k = signed_index(i, length), negative = has_table(kind) ? -k : k + support.width;
    FilterColumn<T> column{static_cast<T>(k), static_cast<int32_t>(k < 0 ? k + p_.width : k),
                           static_cast<int32_t>(k < 0 ? negative : k)};
    if (2 * std::abs(k) > support.width) column.table = static_cast<int32_t>(width - 1);
    entry.columns.push_back(column);
  }
  entry.filter.columns = entry.columns.data();
  entry.filter.table = table;
  entry.filter.table_width = width;
  if (!has_table(kind)) return;
  if (p_.masks == Masks::exact) return make_exact_table(kind, level, scale, table, executor);
  make_table({kind, level, scale}, table, executor);
}

template <typename T>
void FilterBank<T>::make_exact_table(Kind kind, int level, double scale, T* values, const Executor& executor) const {
  const bool is_band = kind == Kind::band;
  RadialTable<T> table;
  table.kind = kind;
  table.level = level;
  table.overlap = masks_.overlap;
  table.order = is_band ? p_.order : 0;
  table.x_step = static_cast<T>(masks_.step_x);
  table.y_step = static_cast<T>(masks_.step_y);
  table.inverse_width = static_cast<T>(masks_.inverse_width);
  table.unit = static_cast<T>(std::ldexp(1.0, -level));
  // Half, because columns_forward gives twice the spectrum.
  table.scale = static_cast<T>(0.5 * scale * (is_band ? masks_.gain : 1.0));
  table.half_width = support_of(p_, level).width / 2;
  table.values = values;
  parallel_for(executor, 0, blocks_of(level), ceil_div(1024, table.half_width + 1),
               [&](int64_t begin, int64_t end) { k_.radial_table(table, begin, end); });
}

template <typename T>
typename TableCache<T>::Key FilterBank<T>::key_of(const Mask& mask) const {
  const auto number = [](auto value) { return static_cast<double>(value); };
  return {number(p_.height),       number(p_.width),    number(p_.levels), number(p_.order),   p_.twidth,
          number(p_.oversampling), number(p_.analytic), number(mask.kind), number(mask.level), number(mask.orientation),
          number(mask.hilbert),    mask.scale,          number(k_.lanes)};
}

template <typename T>
double FilterBank<T>::value_of(const Mask& mask, int64_t kx, int64_t ky) const {
  const auto at = MasksAt<Table, double>::at(masks_, kx, ky);
  switch (mask.kind) {
    case Kind::highpass:
      return highpass_mask(at);
    case Kind::lowpass:
      return lowpass_mask(at);
    case Kind::reconstruction:
      return reconstruction_mask(at, mask.level);
    case Kind::band:
      break;
  }
  const Oriented<double> oriented = oriented_mask(at, radial_mask(at, mask.level), mask.orientation);
  return mask.hilbert ? oriented.hilbert : oriented.band;
}

template <typename T>
void FilterBank<T>::make_table(const Mask& mask, T* table, const Executor& executor) const {
  auto& cache = TableCache<T>::of_this_process();
  const auto key = key_of(mask);
  if (const auto known = cache.find(key)) {
    std::copy(known->begin(), known->end(), table);
    return;
  }
  compute_table(mask, table, executor);
  cache.keep(key, table, static_cast<size_t>(blocks_of(mask.level) * table_width(mask.kind, mask.level) * k_.lanes));
}

// With the column of zeros at the end.
template <typename T>
void FilterBank<T>::compute_table(const Mask& mask, T* table, const Executor& executor) const {
  const int64_t lanes = k_.lanes, width = table_width(mask.kind, mask.level);
  const bool is_symmetric = has_table(mask.kind);
  parallel_for(executor, 0, blocks_of(mask.level) * lanes, ceil_div(512, width), [&](int64_t begin, int64_t end) {
    for (int64_t ky = begin; ky < end; ++ky) {
      T* const row = table + ky / lanes * width * lanes + ky % lanes;
      for (int64_t k = 0; k < width - 1; ++k)
        row[k * lanes] =
            static_cast<T>(0.5 * mask.scale * value_of(mask, is_symmetric ? k : signed_index(k, width - 1), ky));
      row[(width - 1) * lanes] = 0;
    }
  });
}

template <typename T>
Filter<T> FilterBank<T>::band(int level, int orientation, bool hilbert, std::vector<T>& table,
                              const Executor& executor) const {
  const Entry& entry = entries_[static_cast<size_t>(level)];
  Filter<T> filter = entry.filter;
  filter.quarter_turns = (p_.order + hilbert) % 4;
  if (has_table(Kind::band)) {
    filter.cosine = static_cast<T>(std::ldexp(masks_.cosine[orientation] * masks_.step_x, level));
    filter.sine = static_cast<T>(std::ldexp(masks_.sine[orientation] * masks_.step_y, level));
    filter.order = p_.order;
    filter.hilbert = hilbert;
    return filter;
  }
  table.resize(static_cast<size_t>(blocks_of(level) * filter.table_width * k_.lanes));
  make_table({Kind::band, level, entry.scale, orientation, hilbert}, table.data(), executor);
  filter.table = table.data();
  return filter;
}

template <typename T>
void FilterBank<T>::filter_first_row(T* spectrum) const {
  const int64_t n = p_.width;
  const T half_rate = static_cast<T>(0.5 * entries_[entry_of(Kind::highpass, 0)].scale);
  const auto at = [&](int64_t k, int part) -> T& { return spectrum[(2 * k + part) * k_.lanes]; };
  for (int64_t k = 0; k <= n / 2; ++k) {
    const int64_t mirror = k == 0 ? 0 : n - k;
    const T re = at(k, 0), im = at(k, 1), mirror_re = at(mirror, 0), mirror_im = at(mirror, 1);
    const T first = first_row_[static_cast<size_t>(k)];
    const T mean = (first + half_rate) / 2, difference = (first - half_rate) / 2;
    at(k, 0) = mean * re + difference * mirror_re;
    at(k, 1) = mean * im - difference * mirror_im;
    at(mirror, 0) = mean * mirror_re + difference * re;
    at(mirror, 1) = mean * mirror_im - difference * im;
  }
}

}  // namespace genimg::steerable
