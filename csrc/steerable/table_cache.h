// Tables of masks that earlier calls made.
#pragma once

#include <array>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

namespace genimg::steerable {

// Of the masks from pyrtools' tables, each value takes an arc tangent, a logarithm and interpolations: together longer
// than the transforms they are for. One for all threads; the tables used last stay, up to kMostBytes.
template <typename T>
class TableCache {
 public:
  using Key = std::array<double, 13>;  // all that the values depend on
  using Values = std::shared_ptr<const std::vector<T>>;

  static TableCache& of_this_process() {
    static TableCache cache;
    return cache;
  }

  // Null where there is none.
  Values find(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end(); ++it)
      if (it->key == key) {
        entries_.splice(entries_.begin(), entries_, it);
        return it->values;
      }
    return nullptr;
  }

  void keep(const Key& key, const T* values, size_t n) {
    if (n * sizeof(T) > kMostBytes / 16) return;
    auto copy = std::make_shared<const std::vector<T>>(values, values + n);
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_.push_front({key, std::move(copy)});
    bytes_ += n * sizeof(T);
    while (bytes_ > kMostBytes) {
      bytes_ -= entries_.back().values->size() * sizeof(T);
      entries_.pop_back();
    }
  }

 private:
  static constexpr size_t kMostBytes = size_t{64} << 20;
  struct Entry {
    Key key;
    Values values;
  };

  std::mutex mutex_;
  std::list<Entry> entries_;  // the one used last comes first
  size_t bytes_ = 0;
};

}  // namespace genimg::steerable
