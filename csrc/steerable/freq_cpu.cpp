// The driver of the fused transform: which kernel on what, in which order. Bands are made one after another, so that
// the scratch is one half spectrum and one (for complex bands, two) half-transformed bands whatever the number of
// bands.
#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "common/isa.h"
#include "common/scratch.h"
#include "steerable/freq.h"
#include "steerable/freq_filters.h"
#include "steerable/freq_kernels.h"

namespace genimg::steerable {

GENIMG_DECLARE_LEVELS(const FreqKernels<float>& freq_kernels(float); const FreqKernels<double>& freq_kernels(double);)

namespace {

constexpr double kPi = 3.14159265358979323846;

template <typename T>
const FreqKernels<T>& kernels() {
  return GENIMG_OF_LEVEL(freq_kernels(T()));
}

// ---- plans ----

// The part of n without the prime factors 2, 3 and 5.
int64_t rough_part(int64_t n) {
  for (const int p : {2, 3, 5})
    while (n % p == 0) n /= p;
  return n;
}

// Few passes, and none of radix 2 where two of radix 4 do as well. The rough part of n comes last, behind another pass.
std::vector<int> radices_of(int64_t n) {
  std::vector<int> radices;
  const int64_t rough = rough_part(n);
  n /= rough;
  for (const int p : {5, 3})
    for (; n % p == 0; n /= p) radices.push_back(p);
  int twos = 0;
  for (; n > 1; n /= 2) ++twos;
  for (; twos > 4 || twos == 3; twos -= 3) radices.push_back(8);
  for (; twos >= 2; twos -= 2) radices.push_back(4);
  if (twos == 1) radices.push_back(2);
  std::sort(radices.rbegin(), radices.rend());
  if (rough == 1) return radices;
  if (radices.empty()) radices.push_back(1);
  radices.push_back(static_cast<int>(rough));
  return radices;
}

template <typename T>
const FftPlan<T>* plan_of(int64_t n);

using Complexes = std::vector<std::complex<double>>;

// A transform in float64, for tables.
Complexes transform(const Complexes& x) {
  const size_t n = x.size();
  size_t parts = 2;
  while (parts < n && n % parts != 0) ++parts;
  if (n <= 1) return x;
  Complexes y(n);
  for (size_t p = 0; p < parts; ++p) {
    Complexes part;
    for (size_t i = p; i < n; i += parts) part.push_back(x[i]);
    part = transform(part);
    for (size_t k = 0; k < n; ++k)
      y[k] +=
          part[k % part.size()] * std::polar(1.0, -2 * kPi * static_cast<double>(p * k % n) / static_cast<double>(n));
  }
  return y;
}

template <typename T>
struct OwnedChirp : ChirpPlan<T> {
  std::vector<T> chirps, spectra;

  explicit OwnedChirp(int64_t length) {
    int64_t padded = 2 * length - 1;
    while (rough_part(padded) != 1) ++padded;
    Complexes conjugates(static_cast<size_t>(padded));
    for (int64_t k = 0; k < length; ++k) {
      const double angle = kPi * static_cast<double>(k * k % (2 * length)) / static_cast<double>(length);
      chirps.push_back(static_cast<T>(std::cos(angle)));
      chirps.push_back(static_cast<T>(-std::sin(angle)));
      conjugates[static_cast<size_t>(k)] = conjugates[static_cast<size_t>((padded - k) % padded)] =
          std::polar(1.0, angle);
    }
    for (const std::complex<double> z : transform(conjugates)) {
      spectra.push_back(static_cast<T>(z.real() / static_cast<double>(padded)));
      spectra.push_back(static_cast<T>(z.imag() / static_cast<double>(padded)));
    }
    this->n = length;
    this->chirp = chirps.data();
    this->spectrum = spectra.data();
    this->plan = plan_of<T>(padded);
  }
};

template <typename T>
struct OwnedPlan : FftPlan<T> {
  std::vector<T> twiddles;
  std::vector<int32_t> frequencies;
  std::unique_ptr<OwnedChirp<T>> owned_chirp;

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
    if (rough_part(length) == 1) return;
    owned_chirp = std::make_unique<OwnedChirp<T>>(rough_part(length));
    this->chirp = owned_chirp.get();
  }
};

// Plans live as long as the process: there are as many as lengths in use.
template <typename T>
const FftPlan<T>* plan_of(int64_t n) {
  static std::recursive_mutex mutex;  // a chirp's plan asks for another
  static std::map<int64_t, std::unique_ptr<OwnedPlan<T>>> plans;
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  std::unique_ptr<OwnedPlan<T>>& plan = plans[n];
  if (!plan) plan = std::make_unique<OwnedPlan<T>>(n);
  return plan.get();
}

// ---- one image ----

// Work of the calling thread, which keeps it: a few columns, too small to give back and too large to ask for each time.
template <typename T>
T* thread_work(size_t size) {
  thread_local std::unique_ptr<Scratch<T>> work;
  thread_local size_t work_size = 0;
  if (work_size < size) {
    work.reset();
    work = std::make_unique<Scratch<T>>(size);
    work_size = size;
  }
  return work->get();
}

template <typename T>
class Transform {
 public:
  Transform(const Pyramid& pyramid, const FilterBank<T>& filters, const Executor& executor)
      : p_(pyramid), filters_(filters), k_(kernels<T>()), executor_(executor), lanes_(k_.lanes) {}

  void analyse(const T* image, const Coefficients<T>& out, int64_t item) const;
  void synthesise(const Coefficients<const T>& in, int64_t item, T* image) const;

 private:
  struct Band {
    Size size;     // of the band
    int64_t rows;  // of its half spectrum that are not 0
    bool has_half_rate_row;
  };

  Band band_of_level(int level) const {
    return {level_size(p_, level), half_rows(support_of(p_, level).height), false};
  }
  Band whole_image() const { return {{p_.height, p_.width}, half_rows(p_.height), p_.height % 2 == 0}; }

  // Numbers of half a spectrum of the image.
  int64_t spectrum_size() const { return 2 * ceil_to(half_rows(p_.height), lanes_) * ceil_to(p_.width, lanes_); }

  Tiles<T> tiles_in_scratch(const Band& band, T* scratch) const {
    return {scratch, ceil_to(band.rows, lanes_) * 2 * lanes_, 2 * lanes_, lanes_, band.has_half_rate_row};
  }
  int64_t tiles_size(const Band& band) const {
    return 2 * ceil_to(band.rows, lanes_) * ceil_to(band.size.width, lanes_);
  }
  // Of the tiles of one real image or band, or of both parts of a complex band that cannot hold its own.
  int64_t scratch_size() const {
    int64_t size = tiles_size(whole_image());
    for (int level = 0; p_.analytic && level < p_.levels; ++level)
      if (!fits_in_band(band_of_level(level))) size = std::max(size, 2 * tiles_size(band_of_level(level)));
    return size;
  }
  // In the memory of an interleaved complex band: rows 2 ky hold the real, rows 2 ky - 1 the imaginary parts.
  Tiles<T> tiles_in_band(const Band& band, T* image) const {
    const int64_t row = 2 * band.size.width;
    return {image, 2 * lanes_, 2 * row, -row, false};
  }
  bool fits_in_band(const Band& band) const {
    return band.size.width % lanes_ == 0 && 2 * ceil_to(band.rows, lanes_) <= band.size.height;
  }

  // Runs a kernel over [0, n), in pieces that are worth a thread; each iteration is a transform of V times `length`.
  template <typename Kernel, typename Arguments>
  void run(Kernel kernel, const Arguments& arguments, int64_t n, int64_t length) const {
    parallel_for(executor_, 0, n, ceil_div(2048, length), [&](int64_t begin, int64_t end) {
      const int64_t vectors = 2 * ceil_to(length, lanes_) + arguments.plan->chirp_length();
      kernel(arguments, thread_work<T>(static_cast<size_t>(2 * lanes_ * vectors)), begin, end);
    });
  }

  void forward(const Band&, const T* image, int parts, int part, T* tiles, T* spectrum, const Filter<T>&) const;
  void inverse_rows(const Band&, const T* spectrum, const Filter<T>&, const Tiles<T>& tiles) const;
  void inverse_columns(const Band&, const Tiles<T>& tiles, const T* hilbert_tiles, T* image) const;
  void inverse(const Band&, const T* spectrum, const Filter<T>&, T* tiles, T* image) const;
  void analyse_complex_band(int level, int orientation, const T* spectrum, T* tiles, T* image,
                            std::vector<T>& table) const;

  const Pyramid& p_;
  const FilterBank<T>& filters_;
  const FreqKernels<T>& k_;
  const Executor& executor_;
  const int64_t lanes_;
};

template <typename T>
void Transform<T>::forward(const Band& band, const T* image, int parts, int part, T* scratch, T* spectrum,
                           const Filter<T>& filter) const {
  const auto [height, width] = band.size;
  const Tiles<T> tiles = tiles_in_scratch(band, scratch);
  const ColumnsForward<T> columns{plan_of<T>(height), image, width, parts, part, band.rows, tiles};
  run(k_.columns_forward, columns, ceil_div(width, 2 * lanes_), height);
  const RowsForward<T> rows{plan_of<T>(width), tiles, filter, spectrum, p_.width};
  run(k_.rows_forward, rows, ceil_div(band.rows, lanes_), width);
}

template <typename T>
void Transform<T>::inverse_rows(const Band& band, const T* spectrum, const Filter<T>& filter,
                                const Tiles<T>& tiles) const {
  const RowsInverse<T> rows{plan_of<T>(band.size.width), spectrum, p_.width, filter, tiles};
  run(k_.rows_inverse, rows, ceil_div(band.rows, lanes_), band.size.width);
}

template <typename T>
void Transform<T>::inverse_columns(const Band& band, const Tiles<T>& tiles, const T* hilbert_tiles, T* image) const {
  const auto [height, width] = band.size;
  const ColumnsInverse<T> columns{plan_of<T>(height), tiles, hilbert_tiles, band.rows, image, width};
  run(k_.columns_inverse, columns, ceil_div(width, hilbert_tiles == nullptr ? 2 * lanes_ : lanes_), height);
}

template <typename T>
void Transform<T>::inverse(const Band& band, const T* spectrum, const Filter<T>& filter, T* scratch, T* image) const {
  const Tiles<T> tiles = tiles_in_scratch(band, scratch);
  inverse_rows(band, spectrum, filter, tiles);
  inverse_columns(band, tiles, nullptr, image);
}

// `scratch` is for the tiles of both parts where they do not fit into the band.
template <typename T>
void Transform<T>::analyse_complex_band(int level, int b, const T* spectrum, T* scratch, T* image,
                                        std::vector<T>& table) const {
  const Band band = band_of_level(level);
  const Tiles<T> tiles = fits_in_band(band) ? tiles_in_band(band, image) : tiles_in_scratch(band, scratch);
  Tiles<T> hilbert_tiles = tiles;
  hilbert_tiles.data += fits_in_band(band) ? lanes_ : tiles_size(band);
  inverse_rows(band, spectrum, filters_.band(level, b, false, table, executor_), tiles);
  inverse_rows(band, spectrum, filters_.band(level, b, true, table, executor_), hilbert_tiles);
  inverse_columns(band, tiles, hilbert_tiles.data, image);
}

template <typename T>
void Transform<T>::analyse(const T* image, const Coefficients<T>& out, int64_t item) const {
  const Band whole = whole_image();
  const Scratch<T> scratch(static_cast<size_t>(spectrum_size() + scratch_size()));
  T* const spectrum = scratch.get();
  T* const tiles = spectrum + spectrum_size();
  std::vector<T> table;
  forward(whole, image, 1, 0, tiles, spectrum, {});
  for (int level = 0; level < p_.levels; ++level) {
    const Band band = band_of_level(level);
    const int64_t size = band.size.height * band.size.width * (p_.analytic ? 2 : 1);
    for (int b = 0; b < p_.orientations(); ++b) {
      if (out.bands[level] == nullptr || (out.band_subset[level] >> b & 1) == 0) continue;
      T* const to = out.bands[level] + (item * p_.orientations() + b) * size;
      if (p_.analytic)
        analyse_complex_band(level, b, spectrum, tiles, to, table);
      else
        inverse(band, spectrum, filters_.band(level, b, false, table, executor_), tiles, to);
    }
  }
  for (int level = 0; level <= p_.levels; ++level) {
    if (out.reconstructions[level] == nullptr) continue;
    const Band band = band_of_level(level);
    inverse(band, spectrum, filters_.reconstruction(level), tiles,
            out.reconstructions[level] + item * band.size.height * band.size.width);
  }
  if (out.lowpass != nullptr) {
    const Band band = band_of_level(p_.levels);
    inverse(band, spectrum, filters_.lowpass(), tiles, out.lowpass + item * band.size.height * band.size.width);
  }
  if (out.highpass == nullptr) return;
  filters_.filter_first_row(spectrum);
  inverse(whole, spectrum, filters_.highpass(), tiles, out.highpass + item * p_.height * p_.width);
}

template <typename T>
void Transform<T>::synthesise(const Coefficients<const T>& in, int64_t item, T* image) const {
  const Band whole = whole_image();
  const Scratch<T> scratch(static_cast<size_t>(spectrum_size() + scratch_size()));
  T* const spectrum = scratch.get();
  T* const tiles = spectrum + spectrum_size();
  std::vector<T> table;
  std::fill(spectrum, tiles, T(0));
  const auto add = [&](const Band& band, const T* coefficients, int parts, int part, Filter<T> filter) {
    filter.quarter_turns = (4 - filter.quarter_turns) % 4;  // the adjoint's
    forward(band, coefficients, parts, part, tiles, spectrum, filter);
  };
  if (in.highpass != nullptr) {
    add(whole, in.highpass + item * p_.height * p_.width, 1, 0, filters_.highpass());
    filters_.filter_first_row(spectrum);
  }
  const int parts = p_.analytic ? 2 : 1;
  for (int level = 0; level < p_.levels; ++level) {
    const Band band = band_of_level(level);
    const int64_t size = band.size.height * band.size.width * parts;
    for (int b = 0; b < p_.orientations(); ++b) {
      if (in.bands[level] == nullptr || (in.band_subset[level] >> b & 1) == 0) continue;
      for (int part = 0; part < (in.real_part_only ? 1 : parts); ++part)
        add(band, in.bands[level] + (item * p_.orientations() + b) * size, parts, part,
            filters_.band(level, b, part == 1, table, executor_));
    }
  }
  for (int level = 0; level <= p_.levels; ++level) {
    if (in.reconstructions[level] == nullptr) continue;
    const Band band = band_of_level(level);
    add(band, in.reconstructions[level] + item * band.size.height * band.size.width, 1, 0,
        filters_.reconstruction(level));
  }
  if (in.lowpass != nullptr) {
    const Band band = band_of_level(p_.levels);
    add(band, in.lowpass + item * band.size.height * band.size.width, 1, 0, filters_.lowpass());
  }
  inverse(whole, spectrum, {}, tiles, image);
}

// Small images of a batch are one thread's each; larger ones are shared by all threads, one after another.
template <typename T, typename C, typename Call>
void for_each_image(const Pyramid& p, const Coefficients<C>& coefficients, int64_t batch, const Executor& executor,
                    Call call) {
  constexpr int64_t small = 1 << 16;
  const FilterBank<T> filters(p, coefficients, kernels<T>(), executor);
  if (batch == 1 || p.height * p.width > small) {
    const Transform<T> transform(p, filters, executor);
    for (int64_t item = 0; item < batch; ++item) call(transform, item);
    return;
  }
  parallel_for(executor, 0, batch, 1, [&](int64_t begin, int64_t end) {
    const Executor serial = serial_executor();
    const Transform<T> transform(p, filters, serial);
    for (int64_t item = begin; item < end; ++item) call(transform, item);
  });
}

}  // namespace

bool has_fused_transform(const Pyramid& pyramid) {
  // pyrtools' masks are not symmetric about DC where a length is odd.
  if (pyramid.masks == Masks::lut && (pyramid.height % 2 != 0 || pyramid.width % 2 != 0)) return false;
  // The powers of the radius in a RadialTable must stay far from float's range.
  const double longest = static_cast<double>(std::max(pyramid.height, pyramid.width));
  return pyramid.order * std::min(pyramid.twidth + 1, std::log2(longest)) <= 120;
}

template <typename T>
void analysis(const Pyramid& pyramid, const T* image, int64_t batch, const Coefficients<T>& out,
              const Executor& executor) {
  for_each_image<T>(pyramid, out, batch, executor, [&](const Transform<T>& transform, int64_t item) {
    transform.analyse(image + item * pyramid.height * pyramid.width, out, item);
  });
}

template <typename T>
void synthesis(const Pyramid& pyramid, const Coefficients<const T>& in, int64_t batch, T* image,
               const Executor& executor) {
  for_each_image<T>(pyramid, in, batch, executor, [&](const Transform<T>& transform, int64_t item) {
    transform.synthesise(in, item, image + item * pyramid.height * pyramid.width);
  });
}

template void analysis(const Pyramid&, const float*, int64_t, const Coefficients<float>&, const Executor&);
template void analysis(const Pyramid&, const double*, int64_t, const Coefficients<double>&, const Executor&);
template void synthesis(const Pyramid&, const Coefficients<const float>&, int64_t, float*, const Executor&);
template void synthesis(const Pyramid&, const Coefficients<const double>&, int64_t, double*, const Executor&);

}  // namespace genimg::steerable
