// The steerable pyramid in the frequency domain, real and complex (Simoncelli & Freeman 1995; Portilla & Simoncelli
// 2000), for any size, order and height.
//
// Two linear maps are offered, and every use of the pyramid is one of them with its own scales:
//   analysis   coefficients = scale * inverse DFT( mask * DFT(image) )
//   synthesis  image        = sum of inverse DFT( scale * conj(mask) * DFT(coefficients) )
// Neither DFT is normalised here: the caller's scales hold 1/n, the factors of tight_frame and of downsample=False. So
// analysis and synthesis with the same scales are each other's adjoint, and the gradient of one is the other.
//
// Beside residuals and bands there is, for each level, the picture that the bands of this and all later levels and the
// lowpass residual reconstruct, on the level's grid: its mask is the sum of their squared masks, of real bands.
//
// A complex band is two real ones, the band and its Hilbert transform along the band's orientation (Pyramid::analytic):
// mask * (1 + sign(cos(theta - phi))) has the value 2 on one half plane, 1 on its edge and 0 on the other.
#pragma once

#include <cstdint>

#include "common/executor.h"
#include "steerable/formula.h"

namespace genimg::steerable {

constexpr int kMaxLevels = 62;
constexpr int kMaxOrder = 15;

enum class Masks : int {
  exact = 0,  // analytic raised cosines, on a grid centred at DC for even and odd sizes
  lut = 1,    // pyrtools' linear interpolation in tables, and its grid
};

struct Pyramid {
  int64_t height = 0, width = 0;  // of the image, in pixels, each at least 2
  int levels = 0;                 // number of scales, 0 to kMaxLevels
  int order = 0;                  // of the derivative: order + 1 orientations
  double twidth = 1;              // width of the radial transition in octaves
  bool analytic = false;          // complex bands
  int oversampling = 0;           // octaves by which levels are larger than they need be, up to the size of the image
  Masks masks = Masks::exact;

  int orientations() const { return order + 1; }
};

// Height and width of the bands of a level, 0 <= level <= levels; level == levels is the lowpass residual.
struct Size {
  int64_t height, width;
};
inline Size level_size(const Pyramid& pyramid, int level) {
  return {level_length(pyramid.height, level, pyramid.oversampling),
          level_length(pyramid.width, level, pyramid.oversampling)};
}

// What analysis writes and synthesis reads: row-major, contiguous. A null pointer leaves that output or input out, and
// so does a zero bit of band_subset.
template <typename T>
struct Coefficients {
  T* highpass = nullptr;      // (batch, height, width)
  T* bands[kMaxLevels] = {};  // (batch, orientations, h_i, w_i), or (..., 2) where analytic: real, imaginary
  T* lowpass = nullptr;       // (batch, h_levels, w_levels)
  uint32_t band_subset[kMaxLevels] = {};
  T* reconstructions[kMaxLevels + 1] = {};  // (batch, h_i, w_i); at `levels`: of the lowpass residual alone
  double highpass_scale = 1, lowpass_scale = 1, band_scale[kMaxLevels] = {}, reconstruction_scale[kMaxLevels + 1] = {};
  // For synthesis of complex bands: only their real parts are read, with the mask of a real band.
  bool real_part_only = false;
};

// Whether analysis and synthesis below transform this pyramid themselves, whatever its lengths. They do not where lut
// masks meet an odd length (pyrtools' grid is not symmetric about DC then), nor where order times octaves of the
// transition takes the radius' powers out of float's range.
bool has_fused_transform(const Pyramid& pyramid);

// T is float or double. Same bits for any executor. Scratch: about two and a half images of T (analysis into complex
// bands whose sides are no multiples of the vector length: three and a half) and a few columns a thread.
template <typename T>
void analysis(const Pyramid&, const T* image, int64_t batch, const Coefficients<T>& out, const Executor&);
template <typename T>
void synthesis(const Pyramid&, const Coefficients<const T>& in, int64_t batch, T* image, const Executor&);

// The masks alone, for devices and pyramids whose transforms come from a library. Spectra are those of rfft2:
// interleaved complex, (batch, h, w/2+1). Here the coefficients hold the half spectra of the real outputs: bands are
// (batch, orientations, parts, h_i, w_i/2+1) complex with parts = 2 where analytic (band, Hilbert transform), else 1.
// One read of the image's half spectrum makes all bands of all scales; synthesis_masks is the adjoint map on the half
// planes (each stored value stands for itself and its mirror image; irfft2 takes the Hermitian part).
template <typename T>
void analysis_masks(const Pyramid&, const T* spectrum, int64_t batch, const Coefficients<T>& out, const Executor&);
template <typename T>
void synthesis_masks(const Pyramid&, const Coefficients<const T>& in, int64_t batch, T* spectrum, const Executor&);

}  // namespace genimg::steerable
