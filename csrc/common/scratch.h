// Aligned memory that a kernel needs for a moment.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace genimg {

// The blocks a thread has let go of, for its next call: fresh memory costs a page fault every 4 KiB, which is as much
// time as a sort takes over them. At most 32 MiB a thread are kept.
class ScratchCache {
 public:
  ~ScratchCache() {
    for (int i = 0; i < count_; ++i) std::free(blocks_[i].data);
  }

  // At least `bytes`; `size` receives how many.
  void* take(size_t bytes, size_t& size) {
    int best = -1;
    for (int i = 0; i < count_; ++i)
      if (blocks_[i].size >= bytes && (best < 0 || blocks_[i].size < blocks_[best].size)) best = i;
    if (best < 0) {
      size = (bytes + kPage - 1) / kPage * kPage + kPage;
      return std::aligned_alloc(64, size);
    }
    const Block block = blocks_[best];
    blocks_[best] = blocks_[--count_];
    kept_ -= block.size;
    size = block.size;
    return block.data;
  }

  void give(void* data, size_t size) {
    if (count_ == kMaxBlocks || kept_ + size > kMaxKept) return std::free(data);
    blocks_[count_++] = {data, size};
    kept_ += size;
  }

  static ScratchCache& of_this_thread() {
    static thread_local ScratchCache cache;
    return cache;
  }

 private:
  static constexpr size_t kPage = 4096, kMaxKept = size_t{32} << 20;
  static constexpr int kMaxBlocks = 16;
  struct Block {
    void* data;
    size_t size;
  };
  Block blocks_[kMaxBlocks];
  int count_ = 0;
  size_t kept_ = 0;
};

// n elements of T, 64-byte aligned, not initialised; throws std::bad_alloc.
template <typename T>
class Scratch {
 public:
  explicit Scratch(size_t n) : data_(static_cast<T*>(ScratchCache::of_this_thread().take(n * sizeof(T), size_))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  Scratch(Scratch&& other) noexcept : size_(other.size_), data_(other.data_) { other.data_ = nullptr; }
  ~Scratch() {
    if (data_ != nullptr) ScratchCache::of_this_thread().give(data_, size_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  size_t size_;
  T* data_;
};

}  // namespace genimg
