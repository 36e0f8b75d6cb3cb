#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "common/isa.h"
#include "common/scratch.h"
#include "steerable/space.h"
#include "steerable/space_filters.h"
#include "steerable/space_kernels.h"

namespace genimg::steerable {
namespace {

template <typename T>
const SpaceKernels<T>& space_kernels() {
  if constexpr (std::is_same_v<T, float>)
    return GENIMG_OF_LEVEL(space_float);
  else
    return GENIMG_OF_LEVEL(space_double);
}

// ---------------------------------------------------------------------------------------------------------------------
// What lies where: images continued beyond their edges
// ---------------------------------------------------------------------------------------------------------------------

// One axis of a stored image, continued. Coordinate i stands for position pitch * i of an axis of n positions, of which
// every up-th is stored, the others are zero.
struct Axis {
  int64_t begin = 0;                         // the coordinate of the tables' first entry
  int64_t direct_begin = 0, direct_end = 0;  // coordinates that are the index of their stored sample
  std::vector<int64_t> sample;               // the stored sample, or -1 for zero
  std::vector<int64_t> nearest;              // the same of the nearest position inside, for extend
  std::vector<char> inside;
};

struct AxisRule {
  EdgeRule edges;
  int pitch = 1;
  int64_t n = 0;
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

Axis make_axis(const AxisRule& rule, int64_t begin, int64_t end) {
  Axis axis;
  axis.begin = begin;
  if (rule.edges.up == rule.pitch) {
    axis.direct_begin = divide_up(rule.edges.blank, rule.pitch);
    axis.direct_end = std::max(axis.direct_begin, divide_up(rule.n - rule.edges.blank, rule.pitch));
  }
  for (int64_t i = begin; i < end; ++i) {
    const int64_t p = rule.pitch * i;
    axis.sample.push_back(sample_index(rule.edges, p, rule.n));
    axis.nearest.push_back(nearest_index(rule.edges, p, rule.n));
    axis.inside.push_back(p >= 0 && p < rule.n);
  }
  return axis;
}

struct Plane {
  Axis y, x;
  Edge edge = Edge::zero;
  int64_t stored_height = 0, stored_width = 0;
};

template <typename T>
T at(const T* row, int64_t i) {
  return i < 0 ? T(0) : row[i];
}

// Where n samples are to be read from coordinate x on; of the first and the last `spare` ones anything will do, but
// they must be readable.
struct Segment {
  int64_t x, n, spare;
};

// A pointer to a segment of row y: into the image, or into buffer, which then holds it.
template <typename T>
const T* read(const Plane& plane, const T* image, int64_t y, const Segment& segment, T* buffer) {
  const Axis& columns = plane.x;
  const int64_t row_index = plane.y.sample[y - plane.y.begin];
  const T* const row = image + std::max<int64_t>(row_index, 0) * plane.stored_width;
  const bool inside_row = plane.y.inside[y - plane.y.begin];
  const bool plain_row = row_index >= 0 && (inside_row || plane.edge != Edge::extend);
  if (plain_row && segment.x >= columns.direct_begin && segment.x + segment.n <= columns.direct_end)
    return row + segment.x;
  const int64_t begin = segment.x + segment.spare, end = segment.x + segment.n - segment.spare;
  const auto fill = [&](int64_t from, int64_t to, auto&& value) {
    for (int64_t x = from; x < to; ++x)
      buffer[x - segment.x] = value(columns.sample[x - columns.begin], columns.nearest[x - columns.begin], x);
  };
  if (plain_row) {
    const auto value = [&](int64_t sample, int64_t nearest, int64_t x) {
      const T reflected = at(row, sample);
      return plane.edge == Edge::extend && !columns.inside[x - columns.begin] ? 2 * at(row, nearest) - reflected
                                                                              : reflected;
    };
    const int64_t direct_begin = std::clamp(columns.direct_begin, begin, end);
    const int64_t direct_end = std::clamp(columns.direct_end, direct_begin, end);
    fill(begin, direct_begin, value);
    std::copy(row + direct_begin, row + direct_end, buffer + (direct_begin - segment.x));
    fill(direct_end, end, value);
  } else if (inside_row || plane.edge != Edge::extend) {
    fill(begin, end, [](int64_t, int64_t, int64_t) { return T(0); });
  } else {
    const int64_t nearest_row = plane.y.nearest[y - plane.y.begin];
    const auto in_row = [&](int64_t r, int64_t x) { return r < 0 ? T(0) : at(image + r * plane.stored_width, x); };
    fill(begin, end, [&](int64_t sample, int64_t nearest, int64_t) {
      return 2 * in_row(nearest_row, nearest) - in_row(row_index, sample);
    });
  }
  return buffer;
}

// The adjoint of reading every coordinate of the tables: full holds one value for each, out is the stored image.
template <typename T>
void read_adjoint(const Plane& plane, const T* full, T* out) {
  const int64_t width = plane.stored_width, columns = static_cast<int64_t>(plane.x.sample.size());
  std::fill(out, out + plane.stored_height * width, T(0));
  const int64_t direct_begin = std::clamp<int64_t>(plane.x.direct_begin - plane.x.begin, 0, columns);
  const int64_t direct_end = std::clamp<int64_t>(plane.x.direct_end - plane.x.begin, direct_begin, columns);
  const auto add = [&](int64_t y, int64_t x, T value) {
    if (y >= 0 && x >= 0) out[y * width + x] += value;
  };
  for (size_t y = 0; y < plane.y.sample.size(); ++y, full += columns) {
    const int64_t row = plane.y.sample[y], edge_row = plane.y.nearest[y];
    const bool extended_row = plane.edge == Edge::extend && !plane.y.inside[y];
    const auto scatter = [&](int64_t begin, int64_t end) {
      for (int64_t x = begin; x < end; ++x) {
        if (!extended_row && (plane.edge != Edge::extend || plane.x.inside[x])) {
          add(row, plane.x.sample[x], full[x]);
        } else {
          add(edge_row, plane.x.nearest[x], 2 * full[x]);
          add(row, plane.x.sample[x], -full[x]);
        }
      }
    };
    if (extended_row || row < 0) {
      scatter(0, columns);
      continue;
    }
    scatter(0, direct_begin);
    T* target = out + row * width + plane.x.begin;
    for (int64_t x = direct_begin; x < direct_end; ++x) target[x] += full[x];
    scatter(direct_end, columns);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// A stage: some images in, some linear combinations of their filtered versions out, tile by tile
// ---------------------------------------------------------------------------------------------------------------------

template <typename T>
struct Stream {  // a + sign * b
  const T* a = nullptr;
  const T* b = nullptr;
  T sign = 1;
};

struct Fold {                                 // of a stream into planes, see SpaceKernels::fold
  int stream, shift, gap, sums, differences;  // the last two are numbers of planes

  int planes() const { return sums + differences; }
};

template <typename T>
struct Accumulation {
  int response, plane, planes, taps_rows, first_row;
  std::vector<T> taps;  // (taps_rows, planes)
};

template <typename T>
struct Output {  // response a + sign * response b (b < 0: none), of a filter of `size` taps
  T* data;
  int a, b;
  T sign;
  int size;
};

template <typename T>
struct Stage {
  Plane plane;
  std::vector<Stream<T>> streams;
  std::vector<Fold> folds;
  std::vector<Accumulation<T>> accumulations;
  std::vector<Output<T>> outputs;
  int responses = 0, planes = 0;
  int reach = 0;  // the filters' half size, in coordinates
  int step = 1;   // coordinates from one output to the next; 2 splits the one stream into even and odd columns
  bool interleave = false;        // responses 0 .. 3 are the even and odd columns of even and of odd rows of output 0
  bool add = false;               // to what the outputs hold
  int64_t origin = 0;             // the first output, in coordinates / step
  int64_t height = 0, width = 0;  // of the outputs
};

constexpr int64_t kChunkRows = 256;
constexpr int kMaxWindow = 2 * 4 + kMaxFilterSize + 4;

template <typename T>
class Tile {
 public:
  Tile(const Stage<T>& stage, const SpaceKernels<T>& kernels)
      : stage_(stage),
        k_(kernels),
        window_((k_.rows - 1) * stage.step + 2 * stage.reach + 1),
        segment_(static_cast<int64_t>(k_.tile + 2 * k_.margin) * stage.step),
        ring_(static_cast<size_t>(window_) * stage.planes * k_.tile),
        responses_(static_cast<size_t>(std::max(stage.responses, 4)) * k_.rows * k_.tile),
        segments_(static_cast<size_t>(segment_) * 3) {}

  // Rows [begin, end) of outputs from column x on.
  void run(int64_t image, int64_t begin, int64_t end, int64_t x) {
    for (int i = 0; i < window_; ++i) slots_[i] = ring_.get() + static_cast<int64_t>(i) * stage_.planes * k_.tile;
    const int advance = k_.rows * stage_.step;
    for (int64_t y = begin; y < end; y += k_.rows) {
      const int kept = y == begin ? 0 : std::max(0, window_ - advance);
      if (y != begin) std::rotate(slots_, slots_ + std::min(advance, window_), slots_ + window_);
      for (int i = kept; i < window_; ++i)
        build_row(image, (stage_.origin + y) * stage_.step - stage_.reach + i, x, slots_[i]);
      if (y + k_.rows < end) prefetch(image, y + k_.rows, std::min(y + 2 * k_.rows, end), x);
      filter();
      write(image, y, std::min<int64_t>(k_.rows, end - y), x);
    }
  }

 private:
  // Asks for what the next rows read and write while these are computed: a tile's rows lie far apart in memory, where
  // the processor does not foresee them.
  void prefetch(int64_t image, int64_t begin, int64_t end, int64_t x) const {
    const Plane& plane = stage_.plane;
    const int64_t first = (stage_.origin + begin) * stage_.step + window_ - stage_.reach - k_.rows * stage_.step;
    for (int64_t y = first; y < first + (end - begin) * stage_.step; ++y) {
      const int64_t row = plane.y.sample[y - plane.y.begin];
      const int64_t offset = (image * plane.stored_height + row) * plane.stored_width + x * stage_.step;
      if (row < 0) continue;
      for (const Stream<T>& stream : stage_.streams) {
        prefetch_lines(stream.a + offset, k_.tile * stage_.step, false);
        if (stream.b != nullptr) prefetch_lines(stream.b + offset, k_.tile * stage_.step, false);
      }
    }
    const int scale = stage_.interleave ? 2 : 1;
    for (int64_t y = begin * scale; y < end * scale; ++y)
      for (const Output<T>& out : stage_.outputs)
        prefetch_lines(out.data + (image * stage_.height + y) * stage_.width + x * scale, k_.tile * scale, true);
  }

  static void prefetch_lines(const T* data, int64_t n, bool to_write) {
    constexpr int64_t line = 64 / sizeof(T);
    for (int64_t i = 0; i < n; i += line) to_write ? __builtin_prefetch(data + i, 1) : __builtin_prefetch(data + i);
  }

  void build_row(int64_t image, int64_t y, int64_t x, T* planes) {
    const T* row = nullptr;
    int made = -1;
    for (const Fold& fold : stage_.folds) {
      if (fold.stream != made) row = stream(fold.stream, image, y, (stage_.origin + x) * stage_.step);
      made = fold.stream;
      T* const differences = planes + static_cast<int64_t>(fold.sums) * k_.tile;
      k_.fold(row + fold.shift, fold.gap, std::max(fold.sums, fold.differences + 1), fold.sums > 0 ? planes : nullptr,
              fold.differences > 0 ? differences : nullptr);
      planes += static_cast<int64_t>(fold.planes()) * k_.tile;
    }
  }

  // Row y of a stream from column x on, with a margin on either side; where step is 2, of its even or its odd columns.
  const T* stream(int i, int64_t image, int64_t y, int64_t x) {
    const int64_t margin = static_cast<int64_t>(k_.margin) * stage_.step;
    const Segment segment = {x - margin, segment_, margin - stage_.reach - stage_.step + 1};
    const int64_t offset = image * stage_.plane.stored_height * stage_.plane.stored_width;
    T* const a = segments_.get();
    T* const b = a + segment_;
    T* const c = b + segment_;
    if (stage_.step == 2) {
      if (i == 0) k_.split(read(stage_.plane, stage_.streams[0].a + offset, y, segment, a), segment_ / 2, b, c);
      return (i == 0 ? b : c) + k_.margin;
    }
    const Stream<T>& stream = stage_.streams[i];
    const T* const row = read(stage_.plane, stream.a + offset, y, segment, a);
    if (stream.b == nullptr) return row + margin;
    k_.combine(row, read(stage_.plane, stream.b + offset, y, segment, b), stream.sign, false, segment_, c);
    return c + margin;
  }

  T* response(int i) { return responses_.get() + static_cast<int64_t>(i) * k_.rows * k_.tile; }

  void filter() {
    int done = -1;
    for (const Accumulation<T>& a : stage_.accumulations) {
      const T* rows[kMaxWindow];
      for (int q = 0; q < a.taps_rows + k_.rows - 1; ++q)
        rows[q] = slots_[stage_.reach + a.first_row + q * stage_.step] + static_cast<int64_t>(a.plane) * k_.tile;
      k_.accumulate(rows, a.planes, a.taps_rows, a.taps.data(), a.response == done, response(a.response));
      done = a.response;
    }
  }

  void write(int64_t image, int64_t y, int64_t rows, int64_t x) {
    if (stage_.interleave) return write_interleaved(image, y, rows, x);
    const int64_t n = std::min<int64_t>(k_.tile, stage_.width - x);
    for (const Output<T>& out : stage_.outputs)
      for (int64_t r = 0; r < rows; ++r) {
        T* target = out.data + (image * stage_.height + y + r) * stage_.width + x;
        const T* a = response(out.a) + r * k_.tile;
        if (out.b < 0)
          k_.copy(a, stage_.add, n, target);
        else
          k_.combine(a, response(out.b) + r * k_.tile, out.sign, stage_.add, n, target);
      }
  }

  void write_interleaved(int64_t image, int64_t y, int64_t rows, int64_t x) {
    const int64_t n = std::min<int64_t>(2 * k_.tile, stage_.width - 2 * x);
    for (int64_t r = 0; r < 2 * rows && 2 * y + r < stage_.height; ++r) {
      const int first = r % 2 == 0 ? 0 : 2;
      k_.interleave(response(first) + r / 2 * k_.tile, response(first + 1) + r / 2 * k_.tile, n,
                    stage_.outputs[0].data + (image * stage_.height + 2 * y + r) * stage_.width + 2 * x);
    }
  }

  const Stage<T>& stage_;
  const SpaceKernels<T>& k_;
  const int window_;
  const int64_t segment_;
  Scratch<T> ring_, responses_, segments_;
  T* slots_[kMaxWindow];
};

template <typename T>
void run(const Stage<T>& stage, int64_t batch, const Executor& executor) {
  const SpaceKernels<T>& kernels = space_kernels<T>();
  const int scale = stage.interleave ? 2 : 1;
  const int64_t height = divide_up(stage.height, scale), width = divide_up(stage.width, scale);
  const int64_t tiles = divide_up(width, kernels.tile), chunks = divide_up(height, kChunkRows);
  parallel_for(executor, 0, batch * chunks * tiles, 1, [&](int64_t begin, int64_t end) {
    Tile<T> tile(stage, kernels);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t chunk = task / tiles % chunks;
      tile.run(task / tiles / chunks, chunk * kChunkRows, std::min(height, (chunk + 1) * kChunkRows),
               task % tiles * kernels.tile);
    }
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// The stages of the pyramid
// ---------------------------------------------------------------------------------------------------------------------

Filter combined(const Filter& a, const Filter& b, double weight_a, double weight_b) {
  Filter out = a;
  for (int y = 0; y < a.size; ++y)
    for (int x = 0; x < a.size; ++x) out.taps[y][x] = weight_a * a.taps[y][x] + weight_b * b.taps[y][x];
  return out;
}

// Whether b is sign * a, mirrored left to right.
bool is_mirror(const Filter& a, const Filter& b, double sign) {
  for (int y = 0; y < a.size; ++y)
    for (int x = 0; x < a.size; ++x)
      if (a.size != b.size || b.taps[y][a.size - 1 - x] != sign * a.taps[y][x]) return false;
  return true;
}

Filter turned(const Filter& filter) {
  Filter out = filter;
  for (int y = 0; y < filter.size; ++y)
    for (int x = 0; x < filter.size; ++x) out.taps[y][x] = filter.taps[filter.size - 1 - y][filter.size - 1 - x];
  return out;
}

// Filters that are symmetric or antisymmetric about their middle column, or come in pairs that are each other's mirror
// image: a pair is the sum and the difference of its symmetric and its antisymmetric part.
struct Unit {
  int filter, partner;  // partner -1: none
  Filter even, odd;     // size 0: none
};

std::vector<Unit> split_into_units(const std::vector<Filter>& filters) {
  std::vector<Unit> units;
  for (int i = 0; i < static_cast<int>(filters.size()); ++i) {
    const Filter& f = filters[i];
    if (is_mirror(f, f, 1)) units.push_back({i, -1, f, {}});
    if (is_mirror(f, f, -1)) units.push_back({i, -1, {}, f});
    for (int j = i + 1; j < static_cast<int>(filters.size()); ++j)
      if (is_mirror(f, filters[j], 1) && !is_mirror(f, f, 1))
        units.push_back({i, j, combined(f, filters[j], .5, .5), combined(f, filters[j], .5, -.5)});
  }
  return units;
}

// Which of a filter's rows or columns: all, or those an even or an odd distance from the middle (lo's half size is
// even).
struct Phase {
  int first, stride;
};
constexpr Phase kAll = {0, 1}, kEven = {0, 2}, kOdd = {1, 2};

// The taps of an accumulation, plane by plane.
template <typename T>
class Taps {
 public:
  Taps(const Filter& filter, Phase rows) {
    for (int y = rows.first; y < filter.size; y += rows.stride) rows_.push_back(y);
  }

  void add(const Filter& filter, bool odd, Phase columns = kAll) {
    const int half = filter.size / 2;
    for (int x = odd ? 1 : columns.first; x <= half; x += columns.stride, ++planes_)
      for (const int y : rows_) taps_.push_back(static_cast<T>(filter.taps[y][half + x]));
  }

  Accumulation<T> accumulation(int response, int plane, int first_row) const {
    const int n = static_cast<int>(rows_.size());
    Accumulation<T> out{response, plane, planes_, n, first_row, std::vector<T>(taps_.size())};
    for (int k = 0; k < planes_; ++k)
      for (int j = 0; j < n; ++j) out.taps[j * planes_ + k] = taps_[k * n + j];
    return out;
  }

 private:
  std::vector<int> rows_;
  std::vector<T> taps_;
  int planes_ = 0;
};

template <typename T>
void add_fold(Stage<T>& stage, const Fold& fold) {
  stage.folds.push_back(fold);
  stage.planes += fold.planes();
}

// A stage that makes (height, width) outputs, the first of them `margin` positions before the image's first.
template <typename T>
Stage<T> make_stage(int64_t height, int64_t width, int64_t margin, int reach) {
  Stage<T> stage;
  stage.height = height + 2 * margin;
  stage.width = width + 2 * margin;
  stage.origin = -margin;
  stage.reach = reach;
  return stage;
}

// Lets the stage read images that store every up-th of (height, width) positions.
template <typename T>
void set_input(Stage<T>& stage, int64_t height, int64_t width, AxisRule rule) {
  const SpaceKernels<T>& kernels = space_kernels<T>();
  const int reach = std::max(stage.reach, (kernels.margin + 1) * stage.step);
  const int64_t begin = stage.origin * stage.step - reach;
  const auto end = [&](int64_t outputs, int64_t block) {
    return (stage.origin + outputs + block) * stage.step + reach;
  };
  stage.plane.edge = rule.edges.edge;
  stage.plane.stored_height = divide_up(height, rule.edges.up);
  stage.plane.stored_width = divide_up(width, rule.edges.up);
  rule.n = height;
  stage.plane.y = make_axis(rule, begin, end(stage.height, kernels.rows));
  rule.n = width;
  stage.plane.x = make_axis(rule, begin, end(stage.width, kernels.tile));
}

// One response of a filter (or of every second of its rows and columns) to the planes from `plane` on.
template <typename T>
void add_accumulation(Stage<T>& stage, int response, int plane, const Filter& filter, bool odd) {
  Taps<T> taps(filter, kAll);
  taps.add(filter, odd);
  stage.accumulations.push_back(taps.accumulation(response, plane, -(filter.size / 2)));
  stage.responses = std::max(stage.responses, response + 1);
}

// Folds and accumulations of a filter whose every second column and row meets samples that stand together.
template <typename T>
void add_phases(Stage<T>& stage, const Filter& lo, bool down) {
  const int half = lo.size / 2;
  add_fold(stage, {0, 0, 0, half / 2 + 1, 0});
  add_fold(stage, {down ? 1 : 0, down ? -1 : 0, 1, half / 2, 0});
  for (const Phase rows : {kEven, kOdd})
    for (const Phase columns : {kEven, kOdd}) {
      Taps<T> taps(lo, rows);
      taps.add(lo, false, columns);
      const int response = down ? 0 : 2 * rows.first + columns.first;
      const int first_row = down ? rows.first - half : rows.first - half / 2;
      stage.accumulations.push_back(taps.accumulation(response, columns.first * (half / 2 + 1), first_row));
    }
  stage.responses = down ? 1 : 4;
}

// Half the size of the largest filter that take(unit) picks, -1 for none.
template <typename Take>
int largest_half(const std::vector<Unit>& units, Take&& take) {
  int half = -1;
  for (const Unit& unit : units)
    if (take(unit).size > 0) half = std::max(half, take(unit).size / 2);
  return half;
}

template <typename T>
class Driver {
 public:
  // adjoint: of the map that continues its input beyond the edges; the input then counts as zero there, and what the
  // filters put beyond the edges is folded back.
  Driver(const SpacePyramid& pyramid, int64_t batch, bool adjoint, const Executor& executor)
      : p_(pyramid),
        bank_(filter_bank(pyramid.order)),
        batch_(batch),
        adjoint_(adjoint && !is_self_adjoint(pyramid.edge)),
        executor_(executor) {}

  void analyze(const T* image, T* const* out) const {
    int deepest = p_.lowpass();
    while (deepest > 0 && out[deepest] == nullptr) --deepest;
    const Scratch<T> lows[2] = {level_scratch(0), level_scratch(1)};
    const std::vector<Filter> bands(bank_.bands, bank_.bands + p_.orientations());
    T* low = deepest == 0 ? nullptr : p_.levels == 0 ? out[p_.lowpass()] : lows[0].get();
    correlate(image, 0, {bank_.hi0, bank_.lo0}, std::vector<T*>{out[0], low});
    for (int level = 0; level < p_.levels && deepest >= p_.band(level, 0); ++level) {
      correlate(low, level, bands, std::vector<T*>(out + p_.band(level, 0), out + p_.band(level + 1, 0)));
      if (deepest < p_.band(level + 1, 0)) return;
      T* const next = level + 1 == p_.levels ? out[p_.lowpass()] : lows[(level + 1) % 2].get();
      reduce(low, level, next);
      low = next;
    }
  }

  void synthesize(const T* const* in, T* image) const {
    std::vector<Filter> bands;
    for (int b = 0; b < p_.orientations(); ++b) bands.push_back(turned(bank_.bands[b]));
    const Scratch<T> lows[2] = {level_scratch(0), level_scratch(1)};
    const T* low = in[p_.lowpass()];
    for (int level = p_.levels - 1; level >= 0; --level) {
      const std::vector<const T*> sources(in + p_.band(level, 0), in + p_.band(level + 1, 0));
      const bool any = std::any_of(sources.begin(), sources.end(), [](const T* c) { return c != nullptr; });
      if (low == nullptr && !any) continue;
      T* const next = lows[level % 2].get();
      with_margin(level, bank_.lo, next, [&](T* out, int margin) {
        if (low != nullptr) expand(low, level, margin, out);
        if (any) convolve(bands, sources, level, margin, low != nullptr, out);
      });
      low = next;
    }
    if (low == nullptr && in[0] == nullptr) return std::fill(image, image + size(p_.height, p_.width), T(0));
    with_margin(0, bank_.hi0.size > bank_.lo0.size ? bank_.hi0 : bank_.lo0, image, [&](T* out, int margin) {
      if (low != nullptr) convolve({bank_.lo0}, {low}, 0, margin, false, out);
      if (in[0] != nullptr) convolve({bank_.hi0}, {in[0]}, 0, margin, low != nullptr, out);
    });
  }

 private:
  int64_t height(int level) const { return level_length(p_.height, level); }
  int64_t width(int level) const { return level_length(p_.width, level); }
  size_t size(int64_t height, int64_t width) const { return static_cast<size_t>(batch_ * height * width); }
  Scratch<T> level_scratch(int level) const {
    return Scratch<T>(level < p_.levels ? size(height(level), width(level)) : 0);
  }
  Edge reading_edge() const { return adjoint_ ? Edge::zero : p_.edge; }
  bool keeps_parity(int level) const {
    return steerable::keeps_parity(p_.edge, height(level)) && steerable::keeps_parity(p_.edge, width(level));
  }

  // Correlates the image of a level with filters of one or several sizes, in one pass; null outputs are left out.
  void correlate(const T* image, int level, const std::vector<Filter>& filters, const std::vector<T*>& out) const {
    const std::vector<Unit> units = split_into_units(filters);
    const int even_half = largest_half(units, [](const Unit& u) -> const Filter& { return u.even; });
    const int odd_half = largest_half(units, [](const Unit& u) -> const Filter& { return u.odd; });
    const int half = std::max(even_half, odd_half), margin = adjoint_ ? half : 0;
    Stage<T> stage = make_stage<T>(height(level), width(level), margin, half);
    set_input(stage, height(level), width(level), {.edges = {.edge = reading_edge()}});
    stage.streams.push_back({image});
    add_fold(stage, {0, 0, 0, even_half + 1, std::max(odd_half, 0)});
    for (const Unit& unit : units) {
      T* const target = out[unit.filter];
      T* const partner = unit.partner < 0 ? nullptr : out[unit.partner];
      if (target == nullptr && partner == nullptr) continue;
      const int first = stage.responses;
      if (unit.even.size > 0) add_accumulation(stage, stage.responses, 0, unit.even, false);
      if (unit.odd.size > 0) add_accumulation(stage, stage.responses, even_half + 1, unit.odd, true);
      const int second = unit.partner < 0 ? -1 : first + 1;
      if (target != nullptr) stage.outputs.push_back({target, first, second, 1, filters[unit.filter].size});
      if (partner != nullptr) stage.outputs.push_back({partner, first, second, -1, filters[unit.filter].size});
    }
    if (!stage.outputs.empty()) finish(stage, level, {.edges = {.edge = p_.edge}});
  }

  // Correlates with lo and keeps every second sample.
  void reduce(const T* image, int level, T* out) const {
    const Filter& lo = bank_.lo;
    const int half = lo.size / 2, margin = adjoint_ ? half : 0;
    const bool dense = adjoint_ && !keeps_parity(level);
    Stage<T> stage = dense ? make_stage<T>(height(level), width(level), margin, half)
                           : make_stage<T>(height(level + 1), width(level + 1), margin / 2, half);
    stage.step = dense ? 1 : 2;
    set_input(stage, height(level), width(level), {.edges = {.edge = reading_edge()}});
    stage.streams.push_back({image});
    if (dense) {
      add_fold(stage, {0, 0, 0, half + 1, 0});
      add_accumulation(stage, 0, 0, lo, false);
    } else {
      add_phases(stage, lo, true);
    }
    stage.outputs.push_back({out, 0, -1, 1, lo.size});
    finish(stage, level, {.edges = {.edge = p_.edge, .up = 2}, .pitch = stage.step});
  }

  // Convolves coefficients of a level with filters of one size, sums, and adds to out if told to; null sources are
  // zero.
  void convolve(const std::vector<Filter>& filters, const std::vector<const T*>& sources, int level, int margin,
                bool add, T* out) const {
    const int half = filters[0].size / 2;
    Stage<T> stage = make_stage<T>(height(level), width(level), margin, half);
    set_input(stage, height(level), width(level), synthesis_rule(filters[0].size));
    stage.add = add;
    Taps<T> taps(filters[0], kAll);
    const auto add_stream = [&](const Stream<T>& stream, const Filter& filter, bool odd) {
      if (filter.size == 0) return;
      stage.streams.push_back(stream);
      add_fold(stage, {static_cast<int>(stage.streams.size()) - 1, 0, 0, odd ? 0 : half + 1, odd ? half : 0});
      taps.add(filter, odd);
    };
    for (const Unit& unit : split_into_units(filters)) {
      const T* const a = sources[unit.filter];
      const T* const b = unit.partner < 0 ? nullptr : sources[unit.partner];
      if (a != nullptr) {
        add_stream({a, b, 1}, unit.even, false);
        add_stream({a, b, -1}, unit.odd, true);
      } else if (b != nullptr) {
        add_stream({b}, unit.even, false);
        add_stream({b}, combined(unit.odd, unit.odd, -1, 0), true);
      }
    }
    stage.accumulations.push_back(taps.accumulation(0, 0, -half));
    stage.responses = 1;
    stage.outputs.push_back({out, 0, -1, 1, filters[0].size});
    run(stage, batch_, executor_);
  }

  // Puts zeros between the lowpass samples of the next level and convolves with lo.
  void expand(const T* low, int level, int margin, T* out) const {
    const Filter& lo = bank_.lo;
    const int half = lo.size / 2;
    const bool dense = !adjoint_ && !keeps_parity(level);
    Stage<T> stage = make_stage<T>(height(level), width(level), margin, dense ? half : half / 2);
    AxisRule rule = synthesis_rule(lo.size);
    rule.edges.up = 2;
    if (!dense) {
      rule.pitch = 2;
      stage.interleave = true;
      stage.origin = -margin / 2;
    }
    set_input(stage, height(level), width(level), rule);
    stage.streams.push_back({low});
    if (dense) {
      add_fold(stage, {0, 0, 0, half + 1, 0});
      add_accumulation(stage, 0, 0, lo, false);
    } else {
      add_phases(stage, lo, false);
    }
    stage.outputs.push_back({out, 0, -1, 1, lo.size});
    run(stage, batch_, executor_);
  }

  AxisRule synthesis_rule(int size) const {
    const int64_t blank = p_.edge == Edge::dont_compute ? size / 2 : 0;
    return {.edges = {.edge = reading_edge(), .synthesis_size = size, .blank = blank}};
  }

  // Runs an analysing stage for the image of a level, and does with its outputs what the edge type asks for. Output i
  // of an axis stands at position rule.pitch * (i + stage.origin); every rule.edges.up-th position is kept.
  void finish(Stage<T>& stage, int level, AxisRule rule) const {
    if (!adjoint_) {
      run(stage, batch_, executor_);
      if (p_.edge == Edge::dont_compute)
        for (const Output<T>& out : stage.outputs) blank_border(out, stage, level, rule.edges.up);
      return;
    }
    std::vector<T*> targets;
    const size_t full = size(stage.height, stage.width);
    const Scratch<T> scratch(full * stage.outputs.size());
    for (Output<T>& out : stage.outputs) {
      targets.push_back(out.data);
      out.data = scratch.get() + full * (targets.size() - 1);
    }
    run(stage, batch_, executor_);
    for (size_t i = 0; i < targets.size(); ++i) {
      rule.edges.synthesis_size = stage.outputs[i].size;
      fold_back(stage.outputs[i].data, stage.origin, stage.height, stage.width, level, rule, targets[i]);
    }
  }

  // Gives body an image to fill, with a margin of the filter's half size where what falls there is to be folded back.
  template <typename Body>
  void with_margin(int level, const Filter& largest, T* out, Body&& body) const {
    if (!adjoint_) return body(out, 0);
    const int margin = largest.size / 2;
    const int64_t rows = height(level) + 2 * margin, columns = width(level) + 2 * margin;
    const Scratch<T> full(size(rows, columns));
    body(full.get(), margin);
    fold_back(full.get(), -margin, rows, columns, level, {.edges = {.edge = p_.edge}}, out);
  }

  void fold_back(const T* full, int64_t origin, int64_t rows, int64_t columns, int level, AxisRule rule, T* out) const {
    Plane plane;
    plane.edge = rule.edges.edge;
    plane.stored_height = divide_up(height(level), rule.edges.up);
    plane.stored_width = divide_up(width(level), rule.edges.up);
    rule.n = height(level);
    plane.y = make_axis(rule, origin, origin + rows);
    rule.n = width(level);
    plane.x = make_axis(rule, origin, origin + columns);
    parallel_for(executor_, 0, batch_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        read_adjoint(plane, full + i * rows * columns, out + i * plane.stored_height * plane.stored_width);
    });
  }

  void blank_border(const Output<T>& out, const Stage<T>& stage, int level, int step) const {
    const int64_t half = out.size / 2;
    const auto overhangs = [&](int64_t i, int64_t n) { return i * step < half || i * step >= n - half; };
    for (int64_t i = 0; i < batch_; ++i)
      for (int64_t y = 0; y < stage.height; ++y) {
        T* const row = out.data + (i * stage.height + y) * stage.width;
        const bool whole = overhangs(y, height(level));
        for (int64_t x = 0; x < stage.width; ++x)
          if (whole || overhangs(x, width(level))) row[x] = T(0);
      }
  }

  const SpacePyramid& p_;
  const FilterBank& bank_;
  const int64_t batch_;
  const bool adjoint_;
  const Executor& executor_;
};

}  // namespace

template <typename T>
void space_analysis(const SpacePyramid& pyramid, const T* image, int64_t batch, T* const* coefficients,
                    const Executor& executor) {
  Driver<T>(pyramid, batch, false, executor).analyze(image, coefficients);
}

template <typename T>
void space_synthesis_adjoint(const SpacePyramid& pyramid, const T* image, int64_t batch, T* const* coefficients,
                             const Executor& executor) {
  Driver<T>(pyramid, batch, true, executor).analyze(image, coefficients);
}

template <typename T>
void space_synthesis(const SpacePyramid& pyramid, const T* const* coefficients, int64_t batch, T* image,
                     const Executor& executor) {
  Driver<T>(pyramid, batch, false, executor).synthesize(coefficients, image);
}

template <typename T>
void space_analysis_adjoint(const SpacePyramid& pyramid, const T* const* coefficients, int64_t batch, T* image,
                            const Executor& executor) {
  Driver<T>(pyramid, batch, true, executor).synthesize(coefficients, image);
}

#define GENIMG_INSTANTIATE(T)                                                                                \
  template void space_analysis(const SpacePyramid&, const T*, int64_t, T* const*, const Executor&);          \
  template void space_synthesis_adjoint(const SpacePyramid&, const T*, int64_t, T* const*, const Executor&); \
  template void space_synthesis(const SpacePyramid&, const T* const*, int64_t, T*, const Executor&);         \
  template void space_analysis_adjoint(const SpacePyramid&, const T* const*, int64_t, T*, const Executor&);
GENIMG_INSTANTIATE(float)
GENIMG_INSTANTIATE(double)
#undef GENIMG_INSTANTIATE

}  // namespace genimg::steerable
