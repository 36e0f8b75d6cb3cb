#include "statistics/kernels.h"

#include "common/simd.h"
#include "common/transpose.h"
#include "statistics/formula_simd.h"

namespace genimg::statistics::GENIMG_ISA {
namespace {

template <typename T>
using VectorOf = typename Vector<T>::type;

// What is loaded once stays in its register. The compiler would rather load it again for each use, which is not free
// here: most vectors lie across two lines of the cache.
template <typename V>
GENIMG_HD V kept(V v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__x86_64__)
  __asm__("" : "+x"(v));
#endif
  return v;
}

// ---- sums

GENIMG_HD f64v in_doubles(f64v v) { return v; }
template <int... I>
GENIMG_HD f64v sum_of_halves(f32v v, detail::Indices<I...>) {
  return __builtin_convertvector(__builtin_shufflevector(v, v, I...), f64v) +
         __builtin_convertvector(__builtin_shufflevector(v, v, (I + static_cast<int>(sizeof...(I)))...), f64v);
}
GENIMG_HD f64v in_doubles(f32v v) { return sum_of_halves(v, detail::All<f64v>()); }

constexpr int kDoubleLanes = Vector<double>::lanes;

template <typename V>
GENIMG_HD void add_to(double* sum, V v) {
  store(sum, load<f64v>(sum) + in_doubles(v));
}

// ---- correlation

// As many as the registers hold with what is multiplied.
#if defined(__AVX512F__)
constexpr int kBlockRows = 3, kBlockColumns = 8;
#else
constexpr int kBlockRows = 2, kBlockColumns = 5;
#endif

// A vector of b is loaded once for all rows of a block. skipped: the first columns that the block's first row lacks.
template <typename T, int rows, int columns, int skipped = 0>
void correlate_block(const typename Kernels<T>::Run& run, double* sums, int64_t sums_stride) {
  using V = VectorOf<T>;
  constexpr int n = Vector<T>::lanes;
  V acc[rows][columns] = {};
  for (int64_t y = 0; y < run.rows; ++y) {
    const T* const b = run.b + y * run.b_stride;
    const T* a[rows];
    for (int i = 0; i < rows; ++i) a[i] = run.a[y - i];
    for (int64_t x = 0; x < run.vectors * n; x += n) {
      V va[rows];
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i) va[i] = load<V>(a[i] + x);
#pragma GCC unroll 8
      for (int j = 0; j < columns; ++j) {
        const V vb = kept(load<V>(b + x + j));
#pragma GCC unroll 4
        for (int i = 0; i < rows; ++i)
          if (i > 0 || j >= skipped) acc[i][j] += va[i] * vb;
      }
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int j = i > 0 ? 0 : skipped; j < columns; ++j) add_to(sums + (i * sums_stride + j) * kDoubleLanes, acc[i][j]);
}

// The block of a size that is known when the program runs.
template <typename T, int rows, int columns>
GENIMG_HD void choose_block(const typename Kernels<T>::Run& run, int lag_rows, int lag_columns, double* sums,
                            int64_t sums_stride) {
  if (rows == lag_rows && columns == lag_columns) return correlate_block<T, rows, columns>(run, sums, sums_stride);
  if constexpr (rows < kBlockRows)
    choose_block<T, rows + 1, columns>(run, lag_rows, lag_columns, sums, sums_stride);
  else if constexpr (columns < kBlockColumns)
    choose_block<T, 1, columns + 1>(run, lag_rows, lag_columns, sums, sums_stride);
}

template <typename T>
void correlate(const typename Kernels<T>::Run& run, int lag_rows, int lag_columns, double* sums, int64_t sums_stride) {
  choose_block<T, 1, 1>(run, lag_rows, lag_columns, sums, sums_stride);
}

#if defined(__AVX512F__)
template <typename T>
void correlate_half_of_3(const typename Kernels<T>::Run& run, double* sums) {
  correlate_block<T, 4, 7, 3>(run, sums, 7);
}
#endif

// ---- convolution

// Rows that are computed together: each vector of x serves all of them.
#if defined(__AVX512F__)
constexpr int kMapRows = 4;
#else
constexpr int kMapRows = 2;
#endif

template <typename V, int rows, int vectors>
struct Block {
  V acc[rows][vectors];
};

// What a row of x adds to the rows first .. last of a block; taps: those for row 0, those for row k are k `size`
// before.
template <int first, int last, typename T, typename V, int rows, int vectors>
GENIMG_HD void add_row(Block<V, rows, vectors>& block, const T* x, const T* taps, int size) {
  constexpr int n = Vector<T>::lanes;
  for (int j = 0; j < size; ++j) {
    V vx[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) vx[v] = kept(load<V>(x + j + v * n));
#pragma GCC unroll 4
    for (int k = first; k <= last; ++k) {
      const T tap = taps[j - k * size];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) block.acc[k][v] += vx[v] * tap;
    }
  }
}

template <int first, int last, typename T, typename V, int rows, int vectors>
GENIMG_HD void add_to_rows(int from, int to, Block<V, rows, vectors>& block, const T* x, const T* taps, int size) {
  if (from == first && to == last) return add_row<first, last>(block, x, taps, size);
  if constexpr (last + 1 < rows)
    add_to_rows<first, last + 1>(from, to, block, x, taps, size);
  else if constexpr (first + 1 < rows)
    add_to_rows<first + 1, first + 1>(from, to, block, x, taps, size);
}

template <typename T, int rows, int vectors>
void convolve_block(const T* x, int64_t x_stride, const T* taps, int size, T* out, int64_t out_stride, int64_t width) {
  using V = VectorOf<T>;
  constexpr int n = Vector<T>::lanes;
  Block<V, rows, vectors> block = {};
  for (int y = 0; y < rows - 1 + size; ++y) {
    const int first = y < size ? 0 : y - size + 1, last = y < rows ? y : rows - 1;
    add_to_rows<0, 0>(first, last, block, x + y * x_stride, taps + y * size, size);
  }
  for (int k = 0; k < rows; ++k)
    for (int v = 0; v < vectors; ++v) {
      T* const to = out + k * out_stride + v * n;
      if ((v + 1) * n <= width) {
        store(to, block.acc[k][v]);
        continue;
      }
      for (int l = 0; v * n + l < width; ++l) to[l] = block.acc[k][v][l];
    }
}

template <typename T, int rows>
GENIMG_HD void convolve_rows(const typename Kernels<T>::Map& map, int64_t y, const T* taps, int size) {
  constexpr int n = Vector<T>::lanes;
  for (int64_t x = 0; x < map.width;) {
    const int64_t left = map.width - x;
    const T* const from = map.x + y * map.x_stride + x;
    T* const to = map.out + y * map.out_stride + x;
    if (left > 2 * n) {
      convolve_block<T, rows, kMapVectors>(from, map.x_stride, taps, size, to, map.out_stride, left);
      x += kMapVectors * n;
    } else if (left > n) {
      convolve_block<T, rows, 2>(from, map.x_stride, taps, size, to, map.out_stride, left);
      x += 2 * n;
    } else {
      convolve_block<T, rows, 1>(from, map.x_stride, taps, size, to, map.out_stride, left);
      x += n;
    }
  }
}

template <typename T>
void convolve(const typename Kernels<T>::Map& map, const T* taps, int size) {
  int64_t y = 0;
  for (; y + kMapRows <= map.rows; y += kMapRows) convolve_rows<T, kMapRows>(map, y, taps, size);
  for (; y < map.rows; ++y) convolve_rows<T, 1>(map, y, taps, size);
}

// ---- powers

// The first numbers from p on, and 0.
template <typename T>
GENIMG_HD VectorOf<T> load_part(const T* p, int64_t count) {
  VectorOf<T> v = {};
  for (int64_t l = 0; l < count; ++l) v[l] = p[l];
  return v;
}
template <typename T>
GENIMG_HD void store_part(T* p, VectorOf<T> v, int64_t count) {
  for (int64_t l = 0; l < count; ++l) p[l] = v[l];
}
template <typename T>
GENIMG_HD VectorOf<T> ones(int64_t count) {
  VectorOf<T> v = {};
  for (int l = 0; l < Vector<T>::lanes; ++l) v[l] = T(l < count);
  return v;
}

template <typename T, int count>
void power_sums_of(const T* x, const T* weight, int64_t n, double* sums) {
  using V = VectorOf<T>;
  constexpr int lanes = Vector<T>::lanes;
  V acc[count] = {};
  const auto add = [&](V power, V v) {
#pragma GCC unroll 16
    for (int k = 0; k < count; ++k) {
      acc[k] += power;
      power *= v;
    }
  };
  const int64_t whole = n / lanes * lanes;
  const V all = ones<T>(lanes);
  for (int64_t i = 0; i < whole; i += lanes) add(weight == nullptr ? all : load<V>(weight + i), load<V>(x + i));
  if (whole < n)
    add(weight == nullptr ? ones<T>(n - whole) : load_part(weight + whole, n - whole), load_part(x + whole, n - whole));
  for (int k = 0; k < count; ++k) add_to(sums + k * kDoubleLanes, acc[k]);
}

template <typename T, int most>
GENIMG_HD void choose_count(const T* x, const T* weight, int64_t n, int count, double* sums) {
  if (count == most) return power_sums_of<T, most>(x, weight, n, sums);
  if constexpr (most > 1) choose_count<T, most - 1>(x, weight, n, count, sums);
}

template <typename T>
void power_sums(const T* x, const T* weight, int64_t n, int count, double* sums) {
  choose_count<T, 16>(x, weight, n, count, sums);
}

template <typename T>
void polynomial(const T* x, const T* weight, const T* coefficients, int count, int64_t n, T* out) {
  using V = VectorOf<T>;
  constexpr int lanes = Vector<T>::lanes, vectors = 4;
  const V zero = {};
  int64_t i = 0;
  for (; i + vectors * lanes <= n; i += vectors * lanes) {
    V v[vectors], sum[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) {
      v[j] = load<V>(x + i + j * lanes);
      sum[j] = zero + coefficients[count - 1];
    }
    for (int k = count - 2; k >= 0; --k)
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) sum[j] = sum[j] * v[j] + coefficients[k];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j)
      store(out + i + j * lanes, weight == nullptr ? sum[j] : sum[j] * load<V>(weight + i + j * lanes));
  }
  for (; i < n; i += lanes) {
    const int64_t left = n - i < lanes ? n - i : lanes;
    const V v = load_part(x + i, left);
    V sum = zero + coefficients[count - 1];
    for (int k = count - 2; k >= 0; --k) sum = sum * v + coefficients[k];
    store_part(out + i, weight == nullptr ? sum : sum * load_part(weight + i, left), left);
  }
}

// ---- magnitudes and phases

template <typename T>
using ComplexOf = Complex<VectorOf<T>>;

template <typename T>
GENIMG_HD ComplexOf<T> load_complex(const T* z) {
  const auto first = load<VectorOf<T>>(z), second = load<VectorOf<T>>(z + Vector<T>::lanes);
  return {even_lanes(first, second), odd_lanes(first, second)};
}
template <typename T>
GENIMG_HD void store_complex(T* to, ComplexOf<T> z) {
  store(to, alternate_low(z.re, z.im));
  store(to + Vector<T>::lanes, alternate_high(z.re, z.im));
}

// step(offset) for each vector of n numbers, a part of the last one through `scratch`, where step reads and writes
// whole vectors.
template <int reals_in, int reals_out, typename T, typename Step>
GENIMG_HD void for_each_vector(const T* const (&in)[reals_in], T* const (&out)[reals_out],
                               const int (&in_width)[reals_in], const int (&out_width)[reals_out], int64_t n,
                               Step step) {
  constexpr int lanes = Vector<T>::lanes;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const T* from[reals_in];
    T* to[reals_out];
    for (int k = 0; k < reals_in; ++k) from[k] = in[k] + i * in_width[k];
    for (int k = 0; k < reals_out; ++k) to[k] = out[k] + i * out_width[k];
    step(from, to);
  }
  if (i == n) return;
  T read[reals_in][2 * lanes] = {}, written[reals_out][2 * lanes];
  const T* from[reals_in];
  T* to[reals_out];
  for (int k = 0; k < reals_in; ++k) {
    for (int64_t l = 0; l < (n - i) * in_width[k]; ++l) read[k][l] = in[k][i * in_width[k] + l];
    from[k] = read[k];
  }
  for (int k = 0; k < reals_out; ++k) to[k] = written[k];
  step(from, to);
  for (int k = 0; k < reals_out; ++k)
    for (int64_t l = 0; l < (n - i) * out_width[k]; ++l) out[k][i * out_width[k] + l] = written[k][l];
}

template <typename T>
void magnitudes(const T* z, int64_t n, T* magnitude, T* re) {
  for_each_vector<1, 2, T>({z}, {magnitude, re}, {2}, {1, 1}, n, [](const T* const* in, T* const* out) {
    const ComplexOf<T> v = load_complex(in[0]);
    store(out[0], polar(v).magnitude);
    store(out[1], v.re);
  });
}

template <typename T>
void doubled_phases(const T* z, int64_t n, T* magnitude, T* re, T* im) {
  for_each_vector<1, 3, T>({z}, {magnitude, re, im}, {2}, {1, 1, 1}, n, [](const T* const* in, T* const* out) {
    const Polar<VectorOf<T>> v = polar(load_complex(in[0]));
    const ComplexOf<T> w = doubled(v);
    store(out[0], v.magnitude);
    store(out[1], w.re);
    store(out[2], w.im);
  });
}

template <typename T>
void magnitudes_gradient(const T* z, const T* magnitude, const T* re, int64_t n, T* out) {
  using V = VectorOf<T>;
  for_each_vector<3, 1, T>({z, magnitude, re}, {out}, {2, 1, 1}, {2}, n, [](const T* const* in, T* const* to) {
    const Complex<V> direction = polar(load_complex(in[0])).direction;
    const V g = load<V>(in[1]);
    store_complex(to[0], ComplexOf<T>{direction.re * g + load<V>(in[2]), direction.im * g});
  });
}

template <typename T>
void doubled_phases_gradient(const T* z, const T* magnitude, const T* re, const T* im, int64_t n, T* out) {
  using V = VectorOf<T>;
  for_each_vector<4, 1, T>({z, magnitude, re, im}, {out}, {2, 1, 1, 1}, {2}, n, [](const T* const* in, T* const* to) {
    const Complex<V> g = {load<V>(in[2]), load<V>(in[3])};
    store_complex(to[0], gradient(polar(load_complex(in[0])), load<V>(in[1]), g));
  });
}

template <typename T>
constexpr Kernels<T> table() {
  Kernels<T> kernels = {Vector<T>::lanes,
                        kDoubleLanes,
                        kBlockRows,
                        kBlockColumns,
                        &correlate<T>,
                        nullptr,
                        &convolve<T>,
                        &power_sums<T>,
                        &polynomial<T>,
                        &magnitudes<T>,
                        &doubled_phases<T>,
                        &magnitudes_gradient<T>,
                        &doubled_phases_gradient<T>};
#if defined(__AVX512F__)
  kernels.correlate_half_of_3 = &correlate_half_of_3<T>;
#endif
  return kernels;
}

}  // namespace

extern const Kernels<float> float_kernels = table<float>();
extern const Kernels<double> double_kernels = table<double>();

}  // namespace genimg::statistics::GENIMG_ISA
