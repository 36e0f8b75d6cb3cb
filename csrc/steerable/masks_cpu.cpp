// The masks alone (freq.h: analysis_masks, synthesis_masks): for each row of the image's half spectrum, every mask that
// has this row is made once, in first-level cache, and used for all images of the batch.
#include <algorithm>

#include "common/isa.h"
#include "common/scratch.h"
#include "steerable/freq.h"
#include "steerable/masks.h"
#include "steerable/masks_kernels.h"

namespace genimg::steerable {
namespace {

const AllMaskKernels& all_kernels() { return GENIMG_OF_LEVEL(mask_kernels); }
const MaskKernels<float>& kernels(float) { return all_kernels().f32; }
const MaskKernels<double>& kernels(double) { return all_kernels().f64; }

template <typename T>
MaskRow<T> row_in(T* scratch, int64_t n) {
  MaskRow<T> row{};
  row.n = n;
  for (T** array : {&row.log_radius, &row.radial, &row.cosine, &row.sine, &row.angle, &row.opposite_log_radius,
                    &row.opposite_radial, &row.opposite_angle, &row.mask, &row.hilbert}) {
    *array = scratch;
    scratch += n;
  }
  return row;
}

// One row of one output of analysis, or input of synthesis, in all images of the batch.
template <typename Z, typename T>
struct SpectrumRow {
  Z* first;         // the row in the first image; real, imaginary
  int64_t stride;   // to the same row in the next image, in Z
  int64_t columns;  // of the row
  int64_t nonzero;  // how many of them the mask reaches: none in a Nyquist row, all but the last to a Nyquist column
  const T* mask;
  T scale;
  int quarters;  // the mask's factor (-i)^quarters
};

template <typename T>
class RowMasks {
 public:
  RowMasks(const Pyramid& pyramid)
      : pyramid_(pyramid),
        parameters_(mask_parameters<T>(pyramid)),
        kernels_(kernels(T())),
        functions_(pyramid.masks == Masks::lut ? kernels_.table : kernels_.exact),
        columns_(pyramid.width / 2 + 1),
        scratch_(static_cast<size_t>(MaskRow<T>::arrays * columns_)),
        row_(row_in(scratch_.get(), columns_)) {}

  // Calls visit(SpectrumRow) for each wanted output whose spectrum has the row ky.
  template <typename Z, typename Visit>
  void for_each(const Coefficients<Z>& wanted, int64_t ky, Visit visit) {
    functions_.polar(parameters_, ky, row_);
    if (wanted.highpass != nullptr) {
      functions_.highpass(parameters_, row_);
      SpectrumRow<Z, T> row = place(wanted.highpass, 0, ky, 1, 0);
      row.nonzero = row.columns;
      emit(row, row_.mask, wanted.highpass_scale, 0, visit);
    }
    for (int level = 0; level < pyramid_.levels; ++level) {
      if (wanted.bands[level] != nullptr && has_row(level, ky)) visit_bands(wanted, level, ky, visit);
    }
    for (int level = 0; level <= pyramid_.levels; ++level) {
      if (wanted.reconstructions[level] == nullptr || !has_row(level, ky)) continue;
      functions_.reconstruction(parameters_, level, row_);
      emit(place(wanted.reconstructions[level], level, ky, 1, 0), row_.mask, wanted.reconstruction_scale[level], 0,
           visit);
    }
    if (wanted.lowpass != nullptr && has_row(pyramid_.levels, ky)) {
      functions_.lowpass(parameters_, row_);
      emit(place(wanted.lowpass, pyramid_.levels, ky, 1, 0), row_.mask, wanted.lowpass_scale, 0, visit);
    }
  }

 private:
  template <typename Z, typename Visit>
  void visit_bands(const Coefficients<Z>& wanted, int level, int64_t ky, Visit visit) {
    functions_.radial(parameters_, level, row_);
    const int parts = pyramid_.analytic ? 2 : 1, spectra = parts * pyramid_.orientations();
    const double scale = wanted.band_scale[level];
    for (int b = 0; b < pyramid_.orientations(); ++b) {
      if ((wanted.band_subset[level] >> b & 1) == 0) continue;
      functions_.oriented(parameters_, b, row_);
      emit(place(wanted.bands[level], level, ky, spectra, parts * b), row_.mask, scale, pyramid_.order, visit);
      if (parts == 1) continue;
      emit(place(wanted.bands[level], level, ky, spectra, parts * b + 1), row_.hilbert, scale, pyramid_.order + 1,
           visit);
    }
  }

  bool has_row(int level, int64_t ky) const {
    const Size size = level_size(pyramid_, level);
    return place_of(0, ky, size.height, size.width).inside;
  }

  // The row ky of spectrum `index` among the `spectra` that a level has for each image.
  template <typename Z>
  SpectrumRow<Z, T> place(Z* base, int level, int64_t ky, int spectra, int index) const {
    const Size size = level_size(pyramid_, level);
    const Place place = place_of(0, ky, size.height, size.width);
    const int64_t spectrum = 2 * size.height * place.columns;
    const int64_t reached = place.columns - (size.width % 2 == 0 ? 1 : 0);
    return {base + index * spectrum + 2 * place.row * place.columns,
            spectra * spectrum,
            place.columns,
            place.at_nyquist ? 0 : reached,
            nullptr,
            T(0),
            0};
  }

  template <typename Z, typename Visit>
  static void emit(SpectrumRow<Z, T> row, const T* mask, double scale, int quarters, Visit visit) {
    row.mask = mask;
    row.scale = static_cast<T>(scale);
    row.quarters = quarters;
    visit(row);
  }

  const Pyramid& pyramid_;
  MaskParameters<T> parameters_;
  const MaskKernels<T>& kernels_;
  const MaskFunctions<T>& functions_;
  int64_t columns_;
  Scratch<T> scratch_;
  MaskRow<T> row_;
};

// body(masks, first row of the image's spectrum, ky) for each row, on several threads.
template <typename T, typename Body>
void for_each_row(const Pyramid& pyramid, const Executor& executor, Body body) {
  const int64_t columns = pyramid.width / 2 + 1, grain = std::max<int64_t>(1, 4096 / columns);
  parallel_for(executor, 0, pyramid.height, grain, [&](int64_t begin, int64_t end) {
    RowMasks<T> masks(pyramid);
    for (int64_t y = begin; y < end; ++y) body(masks, 2 * y * columns, signed_index(y, pyramid.height));
  });
}

}  // namespace

template <typename T>
void analysis_masks(const Pyramid& pyramid, const T* spectrum, int64_t batch, const Coefficients<T>& out,
                    const Executor& executor) {
  const int64_t image = 2 * pyramid.height * (pyramid.width / 2 + 1);
  const MaskKernels<T>& kernel = kernels(T());
  for_each_row<T>(pyramid, executor, [&](RowMasks<T>& masks, int64_t first, int64_t ky) {
    masks.for_each(out, ky, [&](const SpectrumRow<T, T>& row) {
      for (int64_t i = 0; i < batch; ++i) {
        T* to = row.first + i * row.stride;
        kernel.apply(row.mask, row.scale, row.quarters, spectrum + i * image + first, to, row.nonzero);
        std::fill(to + 2 * row.nonzero, to + 2 * row.columns, T(0));
      }
    });
  });
}

template <typename T>
void synthesis_masks(const Pyramid& pyramid, const Coefficients<const T>& in, int64_t batch, T* spectrum,
                     const Executor& executor) {
  const int64_t columns = pyramid.width / 2 + 1, image = 2 * pyramid.height * columns;
  const MaskKernels<T>& kernel = kernels(T());
  for_each_row<T>(pyramid, executor, [&](RowMasks<T>& masks, int64_t first, int64_t ky) {
    for (int64_t i = 0; i < batch; ++i) std::fill_n(spectrum + i * image + first, 2 * columns, T(0));
    masks.for_each(in, ky, [&](const SpectrumRow<const T, T>& row) {
      for (int64_t i = 0; i < batch; ++i)
        kernel.accumulate(row.mask, row.scale, -row.quarters, row.first + i * row.stride, spectrum + i * image + first,
                          row.nonzero);
    });
  });
}

template void analysis_masks(const Pyramid&, const float*, int64_t, const Coefficients<float>&, const Executor&);
template void analysis_masks(const Pyramid&, const double*, int64_t, const Coefficients<double>&, const Executor&);
template void synthesis_masks(const Pyramid&, const Coefficients<const float>&, int64_t, float*, const Executor&);
template void synthesis_masks(const Pyramid&, const Coefficients<const double>&, int64_t, double*, const Executor&);

}  // namespace genimg::steerable
