// The driver of the fused transform: which kernel on what, in which order. Bands are made one after another, so that
// the scratch is one half spectrum and one (for complex bands, two) half-transformed bands whatever the number of
// bands.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "common/isa.h"
#include "common/scratch.h"
#include "steerable/freq.h"
#include "steerable/freq_kernels.h"
#include "steerable/masks.h"

namespace genimg::steerable {

#define GENIMG_DECLARE_FREQ_KERNELS(isa)           \
  namespace isa {                                  \
  const FreqKernels<float>& freq_kernels(float);   \
  const FreqKernels<double>& freq_kernels(double); \
  }
GENIMG_DECLARE_FREQ_KERNELS(baseline)
#if defined(__x86_64__)
GENIMG_DECLARE_FREQ_KERNELS(v3)
GENIMG_DECLARE_FREQ_KERNELS(v4)
GENIMG_DECLARE_FREQ_KERNELS(v4x)
#endif
#undef GENIMG_DECLARE_FREQ_KERNELS

namespace {

constexpr double kPi = 3.14159265358979323846;

template <typename T>
const FreqKernels<T>& kernels() {
  switch (active_isa()) {
#if defined(__x86_64__)
    case Isa::v4x:
      return v4x::freq_kernels(T());
    case Isa::v4:
      return v4::freq_kernels(T());
    case Isa::v3:
      return v3::freq_kernels(T());
#endif
    default:
      return baseline::freq_kernels(T());
  }
}

// ---- plans ----

bool is_smooth(int64_t n) {
  for (const int p : {2, 3, 5})
    while (n % p == 0) n /= p;
  return n == 1;
}

// Few passes, and none of radix 2 where two of radix 4 do as well.
std::vector<int> radices_of(int64_t n) {
  std::vector<int> radices;
  for (const int p : {5, 3})
    for (; n % p == 0; n /= p) radices.push_back(p);
  int twos = 0;
  for (; n > 1; n /= 2) ++twos;
  for (; twos > 4 || twos == 3; twos -= 3) radices.push_back(8);
  for (; twos >= 2; twos -= 2) radices.push_back(4);
  if (twos == 1) radices.push_back(2);
  std::sort(radices.rbegin(), radices.rend());
  return radices;
}

template <typename T>
struct OwnedPlan : FftPlan<T> {
  std::vector<T> twiddles;
  std::vector<int32_t> frequencies;

  explicit OwnedPlan(int64_t length) {
    const std::vector<int> radices = radices_of(length);
    this->n = length;
    this->passes = static_cast<int>(radices.size());
    this->radix[0] = 1;
    std::vector<size_t> offsets;
    int64_t left = length;
    for (const int radix : radices) {
      this->radix[offsets.size()] = radix;
      offsets.push_back(twiddles.size());
      for (int64_t j = 0; j < left / radix; ++j)
        for (int q = 1; q < radix; ++q) {
          const double angle = -2 * kPi * static_cast<double>(j * q % left) / static_cast<double>(left);
          twiddles.push_back(static_cast<T>(std::cos(angle)));
          twiddles.push_back(static_cast<T>(std::sin(angle)));
        }
      left /= radix;
    }
    for (size_t s = 0; s < offsets.size(); ++s) this->twiddle[s] = twiddles.data() + offsets[s];
    // The first pass' output number is the frequency's lowest digit.
    frequencies.assign(1, 0);
    int64_t weight = 1;
    for (size_t s = 0; s + 1 < radices.size(); ++s) {
      std::vector<int32_t> longer;
      for (const int32_t base : frequencies)
        for (int q = 0; q < radices[s]; ++q) longer.push_back(static_cast<int32_t>(base + q * weight));
      frequencies = std::move(longer);
      weight *= radices[s];
    }
    this->frequency = frequencies.data();
  }
};

// Plans live as long as the process: there are as many as lengths in use.
template <typename T>
const FftPlan<T>* plan_of(int64_t n) {
  static std::mutex mutex;
  static std::map<int64_t, std::unique_ptr<OwnedPlan<T>>> plans;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<OwnedPlan<T>>& plan = plans[n];
  if (!plan) plan = std::make_unique<OwnedPlan<T>>(n);
  return plan.get();
}

// ---- geometry ----

int64_t ceil_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }
int64_t half_rows(int64_t height) { return (height + 1) / 2; }

// The frequencies that the filters of a level let through: those of the level's own band, if it were downsampled.
Size support_of(const Pyramid& p, int level) {
  return {level_length(p.height, level, true), level_length(p.width, level, true)};
}

// ---- one image ----

template <typename T>
class Transform {
 public:
  Transform(const Pyramid& pyramid, const Executor& executor)
      : p_(pyramid),
        masks_(mask_parameters<double>(pyramid)),
        k_(kernels<T>()),
        executor_(executor),
        lanes_(k_.lanes) {}

  void analyse(const T* image, const Coefficients<T>& out, int64_t item) const;
  void synthesise(const Coefficients<const T>& in, int64_t item, T* image) const;

 private:
  using Kind = typename RadialTable<T>::Kind;
  struct Band {
    Size size;     // of the band
    Size support;  // of its spectrum
    bool half_rate_row;
  };

  Band band_of_level(int level) const { return {level_size(p_, level), support_of(p_, level), false}; }
  Band whole_image() const { return {{p_.height, p_.width}, {p_.height, p_.width}, p_.height % 2 == 0}; }

  size_t plane_size(int64_t height, int64_t width) const {
    return static_cast<size_t>(ceil_to(half_rows(height), lanes_) * 2 * ceil_to(width, lanes_));
  }
  size_t table_size() const {
    const int64_t columns = p_.masks == Masks::lut ? p_.width : p_.width / 2 + 1;
    return static_cast<size_t>(ceil_to(half_rows(p_.height), lanes_) * columns);
  }

  // Runs a kernel over [0, n), in pieces that are worth a thread; each iteration costs `cost` vectors.
  template <typename Kernel, typename Arguments>
  void run(Kernel kernel, const Arguments& arguments, int64_t n, int64_t cost, int64_t length) const {
    parallel_for(executor_, 0, n, ceil_div(2048, cost), [&](int64_t begin, int64_t end) {
      const Scratch<T> work(static_cast<size_t>(4 * ceil_to(length, lanes_) * lanes_));
      kernel(arguments, work.get(), begin, end);
    });
  }

  Filter<T> radial_filter(Kind kind, int level, double scale, T* table) const;
  Filter<T> oriented(Filter<T> radial, int level, int orientation, bool hilbert) const;
  template <typename Value>
  Filter<T> tabulated(int level, bool symmetric, T* table, Value value) const;
  Filter<T> residual_filter(Kind kind, double scale, T* table) const;
  template <typename Call>
  void for_each_band(int level, uint32_t subset, double scale, bool hilbert_too, T* table, Call call) const;
  void split_first_row(Filter<T>& filter, double scale, T* spectrum, T* values) const;

  void forward(const Band&, const T* image, int parts, int part, T* tiles, T* spectrum, const Filter<T>&) const;
  void inverse_rows(const Band&, const T* spectrum, const Filter<T>&, T* tiles) const;
  void inverse_columns(const Band&, const T* tiles, const T* hilbert_tiles, T* image) const;

  const Pyramid& p_;
  const MaskParameters<double> masks_;
  const FreqKernels<T>& k_;
  const Executor& executor_;
  const int64_t lanes_;
};

template <typename T>
Filter<T> Transform<T>::radial_filter(Kind kind, int level, double scale, T* values) const {
  const bool is_band = kind == Kind::band;
  const Size support = support_of(p_, level);
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
  table.half_width = support.width / 2;
  table.values = values;
  const int64_t blocks = ceil_div(half_rows(support.height), lanes_);
  parallel_for(executor_, 0, blocks, ceil_div(1024, table.half_width + 1),
               [&](int64_t begin, int64_t end) { k_.radial_table(table, begin, end); });
  Filter<T> filter;
  filter.table = values;
  filter.half_width = table.half_width;
  filter.columns = table.half_width + 1;
  return filter;
}

template <typename T>
Filter<T> Transform<T>::oriented(Filter<T> filter, int level, int orientation, bool hilbert) const {
  filter.cosine = static_cast<T>(std::ldexp(masks_.cosine[orientation] * masks_.step_x, level));
  filter.sine = static_cast<T>(std::ldexp(masks_.sine[orientation] * masks_.step_y, level));
  filter.order = p_.order;
  filter.quarter_turns = (p_.order + hilbert) % 4;
  filter.hilbert = hilbert;
  return filter;
}

// A filter from value(kx, ky) at every frequency.
template <typename T>
template <typename Value>
Filter<T> Transform<T>::tabulated(int level, bool symmetric, T* table, Value value) const {
  const Size support = support_of(p_, level);
  Filter<T> filter;
  filter.table = table;
  filter.half_width = support.width / 2;
  filter.columns = symmetric ? filter.half_width + 1 : support.width;
  filter.symmetric = symmetric;
  parallel_for(executor_, 0, ceil_to(half_rows(support.height), lanes_), ceil_div(512, filter.columns),
               [&](int64_t begin, int64_t end) {
                 for (int64_t ky = begin; ky < end; ++ky) {
                   T* const row = table + ky / lanes_ * filter.columns * lanes_ + ky % lanes_;
                   for (int64_t k = 0; k < filter.columns; ++k)
                     row[k * lanes_] = static_cast<T>(0.5 * value(symmetric ? k : signed_index(k, filter.columns), ky));
                 }
               });
  return filter;
}

template <typename T>
Filter<T> Transform<T>::residual_filter(Kind kind, double scale, T* table) const {
  const int level = kind == Kind::lowpass ? p_.levels : 0;
  if (p_.masks == Masks::exact) return radial_filter(kind, level, scale, table);
  return tabulated(level, true, table, [&](int64_t kx, int64_t ky) {
    const auto at = MasksAt<Table, double>::at(masks_, kx, ky);
    return scale * (kind == Kind::lowpass ? lowpass_mask(at) : highpass_mask(at));
  });
}

// call(orientation, is it the Hilbert transform?, filter) for the bands of a level.
template <typename T>
template <typename Call>
void Transform<T>::for_each_band(int level, uint32_t subset, double scale, bool hilbert_too, T* table,
                                 Call call) const {
  if ((subset & ((2u << p_.order) - 1)) == 0) return;
  Filter<T> radial;
  if (p_.masks == Masks::exact) radial = radial_filter(Kind::band, level, scale, table);
  for (int b = 0; b < p_.orientations(); ++b) {
    if ((subset >> b & 1) == 0) continue;
    for (const bool hilbert : {false, true}) {
      if (hilbert && !hilbert_too) continue;
      if (p_.masks == Masks::exact) {
        call(b, hilbert, oriented(radial, level, b, hilbert));
        continue;
      }
      Filter<T> filter = tabulated(level, false, table, [&](int64_t kx, int64_t ky) {
        const auto at = MasksAt<Table, double>::at(masks_, kx, ky);
        const Oriented<double> mask = oriented_mask(at, radial_mask(at, level), b);
        return scale * (hilbert ? mask.hilbert : mask.band);
      });
      filter.quarter_turns = (p_.order + hilbert) % 4;
      call(b, hilbert, filter);
    }
  }
}

template <typename T>
void Transform<T>::forward(const Band& band, const T* image, int parts, int part, T* tiles, T* spectrum,
                           const Filter<T>& filter) const {
  const auto [height, width] = band.size;
  const int64_t rows = half_rows(band.support.height);
  const ColumnsForward<T> columns{plan_of<T>(height), image, width, parts, part, rows, band.half_rate_row, tiles};
  run(k_.columns_forward, columns, ceil_div(width, 2 * lanes_), height, height);
  const RowsForward<T> along{plan_of<T>(width), tiles, filter, spectrum, p_.width};
  run(k_.rows_forward, along, ceil_div(rows, lanes_), width, width);
}

template <typename T>
void Transform<T>::inverse_rows(const Band& band, const T* spectrum, const Filter<T>& filter, T* tiles) const {
  const RowsInverse<T> rows{plan_of<T>(band.size.width), spectrum, p_.width, filter, tiles};
  run(k_.rows_inverse, rows, ceil_div(half_rows(band.support.height), lanes_), band.size.width, band.size.width);
}

template <typename T>
void Transform<T>::inverse_columns(const Band& band, const T* tiles, const T* hilbert_tiles, T* image) const {
  const auto [height, width] = band.size;
  const ColumnsInverse<T> columns{plan_of<T>(height), tiles, hilbert_tiles, half_rows(band.support.height),
                                  band.half_rate_row, image, width};
  run(k_.columns_inverse, columns, ceil_div(width, hilbert_tiles == nullptr ? 2 * lanes_ : lanes_), height, height);
}

// Rows 0 and h/2 share a lane, but the highpass residual's mask differs between them (it is 1 on row h/2). This applies
// the masks to that lane of the spectrum, and makes the table pass it on.
template <typename T>
void Transform<T>::split_first_row(Filter<T>& filter, double scale, T* spectrum, T* values) const {
  const int64_t n = p_.width;
  const T half_rate = static_cast<T>(0.5 * scale);
  const auto at = [&](int64_t k, int part) -> T& { return spectrum[(2 * k + part) * lanes_]; };
  for (int64_t k = 0; k <= n / 2; ++k) {
    const int64_t mirror = k == 0 ? 0 : n - k;
    const T re = at(k, 0), im = at(k, 1), mirror_re = at(mirror, 0), mirror_im = at(mirror, 1);
    const T mean = (values[k * lanes_] + half_rate) / 2, difference = (values[k * lanes_] - half_rate) / 2;
    at(k, 0) = mean * re + difference * mirror_re;
    at(k, 1) = mean * im - difference * mirror_im;
    at(mirror, 0) = mean * mirror_re + difference * re;
    at(mirror, 1) = mean * mirror_im - difference * im;
    values[k * lanes_] = 1;
  }
  filter.table = values;
}

template <typename T>
void Transform<T>::analyse(const T* image, const Coefficients<T>& out, int64_t item) const {
  const Band whole = whole_image();
  const size_t plane = plane_size(p_.height, p_.width);
  const Scratch<T> spectrum(plane), tiles(plane), table(table_size());
  const Scratch<T> hilbert_tiles(p_.analytic ? plane : 0);
  forward(whole, image, 1, 0, tiles.get(), spectrum.get(), {});
  for (int level = 0; level < p_.levels; ++level) {
    if (out.bands[level] == nullptr) continue;
    const Band band = band_of_level(level);
    const int64_t size = band.size.height * band.size.width * (p_.analytic ? 2 : 1);
    for_each_band(level, out.band_subset[level], out.band_scale[level], p_.analytic, table.get(),
                  [&](int b, bool hilbert, const Filter<T>& filter) {
                    inverse_rows(band, spectrum.get(), filter, hilbert ? hilbert_tiles.get() : tiles.get());
                    if (hilbert == p_.analytic)
                      inverse_columns(band, tiles.get(), hilbert ? hilbert_tiles.get() : nullptr,
                                      out.bands[level] + (item * p_.orientations() + b) * size);
                  });
  }
  if (out.lowpass != nullptr) {
    const Band band = band_of_level(p_.levels);
    inverse_rows(band, spectrum.get(), residual_filter(Kind::lowpass, out.lowpass_scale, table.get()), tiles.get());
    inverse_columns(band, tiles.get(), nullptr, out.lowpass + item * band.size.height * band.size.width);
  }
  if (out.highpass == nullptr) return;
  Filter<T> filter = residual_filter(Kind::highpass, out.highpass_scale, table.get());
  split_first_row(filter, out.highpass_scale, spectrum.get(), table.get());
  inverse_rows(whole, spectrum.get(), filter, tiles.get());
  inverse_columns(whole, tiles.get(), nullptr, out.highpass + item * p_.height * p_.width);
}

template <typename T>
void Transform<T>::synthesise(const Coefficients<const T>& in, int64_t item, T* image) const {
  const Band whole = whole_image();
  const size_t plane = plane_size(p_.height, p_.width);
  const Scratch<T> spectrum(plane), tiles(plane), table(table_size());
  std::memset(spectrum.get(), 0, plane * sizeof(T));
  const auto add = [&](const Band& band, const T* coefficients, int parts, int part, Filter<T> filter) {
    filter.quarter_turns = (4 - filter.quarter_turns) % 4;
    forward(band, coefficients, parts, part, tiles.get(), spectrum.get(), filter);
  };
  if (in.highpass != nullptr) {
    Filter<T> filter = residual_filter(Kind::highpass, in.highpass_scale, table.get());
    std::vector<T> first_row;
    for (int64_t k = 0; k <= filter.half_width; ++k) {
      first_row.push_back(table[static_cast<size_t>(k * lanes_)]);
      table[static_cast<size_t>(k * lanes_)] = 1;
    }
    add(whole, in.highpass + item * p_.height * p_.width, 1, 0, filter);
    for (int64_t k = 0; k <= filter.half_width; ++k)
      table[static_cast<size_t>(k * lanes_)] = first_row[static_cast<size_t>(k)];
    split_first_row(filter, in.highpass_scale, spectrum.get(), table.get());
  }
  for (int level = 0; level < p_.levels; ++level) {
    if (in.bands[level] == nullptr) continue;
    const Band band = band_of_level(level);
    const int parts = p_.analytic ? 2 : 1;
    const int64_t size = band.size.height * band.size.width * parts;
    for_each_band(level, in.band_subset[level], in.band_scale[level], p_.analytic && !in.real_part_only, table.get(),
                  [&](int b, bool hilbert, const Filter<T>& filter) {
                    add(band, in.bands[level] + (item * p_.orientations() + b) * size, parts, hilbert, filter);
                  });
  }
  if (in.lowpass != nullptr) {
    const Band band = band_of_level(p_.levels);
    add(band, in.lowpass + item * band.size.height * band.size.width, 1, 0,
        residual_filter(Kind::lowpass, in.lowpass_scale, table.get()));
  }
  inverse_rows(whole, spectrum.get(), {}, tiles.get());
  inverse_columns(whole, tiles.get(), nullptr, image);
}

// Small images of a batch are one thread's each; larger ones are shared by all threads, one after another.
template <typename Call>
void for_each_image(const Pyramid& p, int64_t batch, const Executor& executor, Call call) {
  constexpr int64_t small = 1 << 16;
  if (batch == 1 || p.height * p.width > small) {
    for (int64_t item = 0; item < batch; ++item) call(item, executor);
    return;
  }
  parallel_for(executor, 0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) call(item, serial_executor());
  });
}

}  // namespace


bool has_fused_transform(const Pyramid& pyramid) {
  // pyrtools' masks are not symmetric about DC where a length is odd.
  if (pyramid.masks == Masks::lut && (pyramid.height % 2 != 0 || pyramid.width % 2 != 0)) return false;
  // The powers of the radius in a RadialTable must stay far from float's range.
  if (pyramid.order *
          std::min(pyramid.twidth + 1, std::log2(static_cast<double>(std::max(pyramid.height, pyramid.width)))) >
      120)
    return false;
  for (int level = 0; level <= pyramid.levels; ++level) {
    const Size size = level_size(pyramid, level);
    if (!is_smooth(size.height) || !is_smooth(size.width)) return false;
  }
  return true;
}

template <typename T>
void analysis(const Pyramid& pyramid, const T* image, int64_t batch, const Coefficients<T>& out,
              const Executor& executor) {
  for_each_image(pyramid, batch, executor, [&](int64_t item, const Executor& inner) {
    Transform<T>(pyramid, inner).analyse(image + item * pyramid.height * pyramid.width, out, item);
  });
}

template <typename T>
void synthesis(const Pyramid& pyramid, const Coefficients<const T>& in, int64_t batch, T* image,
               const Executor& executor) {
  for_each_image(pyramid, batch, executor, [&](int64_t item, const Executor& inner) {
    Transform<T>(pyramid, inner).synthesise(in, item, image + item * pyramid.height * pyramid.width);
  });
}

template void analysis(const Pyramid&, const float*, int64_t, const Coefficients<float>&, const Executor&);
template void analysis(const Pyramid&, const double*, int64_t, const Coefficients<double>&, const Executor&);
template void synthesis(const Pyramid&, const Coefficients<const float>&, int64_t, float*, const Executor&);
template void synthesis(const Pyramid&, const Coefficients<const double>&, int64_t, double*, const Executor&);

}  // namespace genimg::steerable
