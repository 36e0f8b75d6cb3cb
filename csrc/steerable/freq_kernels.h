// What the driver of the fused transform (freq_cpu.cpp) hands to its kernels (freq_kernels.cpp, once per instruction
// set), and the two layouts that they share. V is the number of lanes of a vector of T.
//
// Every transform is one of a real image, so half a plane of its spectrum is kept: rows ky = 0 .. ceil(h/2) - 1. For
// even h the row ky = h/2 has, like the row ky = 0, the symmetry of a real signal's spectrum along kx, and rides as the
// imaginary half of that row: (row 0) + i (row h/2). No band has anything there, only the image and the highpass
// residual.
//
//   spectrum  [block of V rows ky][kx = 0 .. w-1][re, im][V]   half a plane, transposed
//   tiles     transformed back along x: rows ky of V columns x, see Tiles
#pragma once

#include <stdint.h>

namespace genimg::steerable {

constexpr int kMaxPasses = 40;

template <typename T>
struct FftPlan;

// A transform of any length n as a convolution of length plan->n >= 2 n - 1 (Bluestein 1970): with the chirp
// w[k] = exp(-pi i k^2 / n), y[k] = w[k] * sum_j (x[j] w[j]) conj(w[k - j]).
template <typename T>
struct ChirpPlan {
  int64_t n;
  const T* chirp;     // w: (k, re/im)
  const T* spectrum;  // of the conjugate chirp, over plan->n
  const FftPlan<T>* plan;
};

// A transform of length n = radix[0] * radix[1] * ..., all radices in {1, 2, 3, 4, 5, 8} but for the last one, if n has
// larger prime factors: that is their product, and `chirp` transforms it; see fft.h.
template <typename T>
struct FftPlan {
  int64_t n;
  int passes;
  int radix[kMaxPasses];
  const T* twiddle[kMaxPasses];  // of pass s: (j, q, re/im), exp(-2 pi i j q / length of the pass), q = 1 .. radix-1
  const int32_t* frequency;      // of the last pass' group g: its output q has the frequency frequency[g] + q n / radix
  const ChirpPlan<T>* chirp = nullptr;

  // Vectors that the chirp works on.
  int64_t chirp_length() const { return chirp == nullptr ? 0 : chirp->plan->n; }
};

// The radial factor of one filter for a quarter of the plane, over the radius' power `order` so that the angular factor
// needs no direction: (block of V rows ky, |kx| = 0 .. half_width and a column of zeros, V).
template <typename T>
struct RadialTable {
  enum class Kind : int { highpass, band, lowpass, reconstruction };
  Kind kind;
  int level, overlap, order;  // level shifts log2 of the radius; overlap: see low_product
  T x_step, y_step;           // radius of one step of kx and of ky, 1 at half the sampling rate
  T inverse_width;            // of the transition
  T unit;                     // lengths are in units of this radius, so that no power overflows
  T scale;
  int64_t half_width;
  T* values;
};

// What a filter needs to know of the i-th column of a band's spectrum.
template <typename T>
struct FilterColumn {
  T kx;              // signed
  int32_t spectrum;  // in this column of the image's spectrum,
  int32_t table;     // and of the filter's table
};

// What a spectrum is multiplied by: table * (x cosine + y sine)^order * (-i)^quarter_turns, and by the sign of the
// cosine for the Hilbert transform.
template <typename T>
struct Filter {
  const T* table = nullptr;                  // of a RadialTable, or its like; null: no filter
  int64_t table_width = 0;                   // columns in a block of it
  const FilterColumn<T>* columns = nullptr;  // of each of the band's
  T cosine = 0, sine = 0;                    // of one step of kx and of ky
  int order = 0;
  int quarter_turns = 0;
  bool hilbert = false;
};

// The real part of V columns of row ky begins at data + (x / V) * block + ky * row, the imaginary one `imaginary`
// numbers further. The imaginary part of row 0 may be left out: it holds the row h/2, which bands do not have.
template <typename T>
struct Tiles {
  T* data;
  int64_t block, row, imaginary;
  bool has_half_rate_row;
};

// Real columns, two blocks of V at a time, to tiles of their half spectra along y; twice their value.
template <typename T>
struct ColumnsForward {
  const FftPlan<T>* plan;  // of the height
  const T* image;          // (h, width, parts)
  int64_t width;
  int parts, part;  // 2 for interleaved complex images, else 1; and the one that is read
  int64_t rows;     // ky = 0 .. rows-1 are stored, and zeros up to a multiple of V
  Tiles<T> tiles;
};

// Tiles to spectrum: without a filter stored, with one filtered and added.
template <typename T>
struct RowsForward {
  const FftPlan<T>* plan;  // of the tiles' width
  Tiles<T> tiles;
  Filter<T> filter;
  T* spectrum;
  int64_t spectrum_width;
};

// Spectrum, filtered, to tiles.
template <typename T>
struct RowsInverse {
  const FftPlan<T>* plan;  // of the tiles' width
  const T* spectrum;
  int64_t spectrum_width;
  Filter<T> filter;
  Tiles<T> tiles;
};

// Tiles to a real image, or with `hilbert_tiles` to an interleaved complex one. The tiles of a pair of blocks (with
// hilbert_tiles, of a block) may be in the memory of the same columns of the image.
template <typename T>
struct ColumnsInverse {
  const FftPlan<T>* plan;  // of the height
  Tiles<T> tiles;
  const T* hilbert_tiles;  // laid out as `tiles`
  int64_t rows;            // rows ky that the tiles hold; the others are zero
  T* image;
  int64_t width;
};

// `work` is 2 V (2 ceil(n to V) + plan->chirp_length()) numbers of the calling thread, n the plan's length.
template <typename T>
struct FreqKernels {
  int lanes;
  void (*radial_table)(const RadialTable<T>&, int64_t begin_block, int64_t end_block);
  void (*columns_forward)(const ColumnsForward<T>&, T* work, int64_t begin_pair, int64_t end_pair);
  void (*rows_forward)(const RowsForward<T>&, T* work, int64_t begin_block, int64_t end_block);
  void (*rows_inverse)(const RowsInverse<T>&, T* work, int64_t begin_block, int64_t end_block);
  void (*columns_inverse)(const ColumnsInverse<T>&, T* work, int64_t begin_pair, int64_t end_pair);
};

}  // namespace genimg::steerable
