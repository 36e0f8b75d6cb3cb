#include "common/pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace genimg {
namespace {

int usable_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::clamp(CPU_COUNT(&set), 1, kMaxThreads);
#endif
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, static_cast<unsigned>(kMaxThreads)));
}

// A wish from the environment: the number that is taken, and whether that is the number that was asked for.
struct Wish {
  int threads;
  bool is_fulfilled;
};

Wish wished_threads(const char* text) {
  if (text == nullptr || *text == '\0') return {usable_processors(), true};
  int64_t number = 0;
  for (const char* digit = text; *digit != '\0'; ++digit) {
    if (*digit < '0' || *digit > '9') return {usable_processors(), false};
    number = std::min<int64_t>(10 * number + (*digit - '0'), int64_t{kMaxThreads} + 1);
  }
  if (number == 0) return {usable_processors(), false};
  return {static_cast<int>(std::min<int64_t>(number, kMaxThreads)), number <= kMaxThreads};
}

const char* environment() { return std::getenv("GENIMG_FAST_NUM_THREADS"); }

// Workers sleep on a condition variable between jobs: spinning threads would steal time from other processes.
class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {}
  ~Pool() { stop(); }

  void resize(int threads) {
    const std::lock_guard<std::mutex> owner(owner_);
    stop();
    threads_ = std::clamp(threads, 1, kMaxThreads);
  }

  int threads() const { return threads_; }

  void run(int64_t begin, int64_t end, int64_t grain, Executor::Body body, void* context) {
    const int64_t n = end - begin;
    if (n <= 0) return;
    const int64_t step = std::max<int64_t>(grain, 1);
    const int64_t most = n / step + (n % step != 0);
    std::unique_lock<std::mutex> owner(owner_, std::defer_lock);
    if (most <= 1 || threads_ <= 1 || inside_ || !owner.try_lock()) return body(context, begin, end);
    // The owner alone may rely on the number of threads: until here another caller could change it.
    const int64_t parts = 1 + start(std::min<int64_t>(threads_, most) - 1);
    if (parts <= 1) return body(context, begin, end);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = {begin, n, parts, body, context};
      pending_ = static_cast<int>(parts) - 1;
      error_ = nullptr;
      ++generation_;
    }
    wake_.notify_all();
    work(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  struct Job {
    int64_t begin, n, parts;
    Executor::Body body;
    void* context;
  };

  void work(int64_t part) noexcept {
    inside_ = true;
    try {
      job_.body(job_.context, job_.begin + job_.n * part / job_.parts, job_.begin + job_.n * (part + 1) / job_.parts);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
    inside_ = false;
  }

  // Starts workers up to a number, and returns how many of them there are: the system may refuse more.
  int64_t start(int64_t wanted) {
    try {
      while (static_cast<int64_t>(workers_.size()) < wanted) start_one();
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
    return std::min(wanted, static_cast<int64_t>(workers_.size()));
  }

  void start_one() {
    workers_.emplace_back([this, part = static_cast<int64_t>(workers_.size()) + 1, seen = generation_]() mutable {
      for (;;) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
        if (stopping_) return;
        seen = generation_;
        if (part >= job_.parts) continue;
        lock.unlock();
        work(part);
        lock.lock();
        if (--pending_ == 0) done_.notify_one();
      }
    });
  }

  void stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_ = false;
  }

  static thread_local bool inside_;
  std::mutex owner_;  // held by the one caller whose job runs
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  Job job_{};
  int pending_ = 0;
  uint64_t generation_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::atomic<int> threads_;
};

thread_local bool Pool::inside_ = false;

// Never destroyed: at exit the threads of a destroyed pool could still be waited for by other destructors.
alignas(Pool) unsigned char storage[sizeof(Pool)];

Pool& pool() {
  static Pool* const instance = [] {
    Pool* const made = new (storage) Pool(wished_threads(environment()).threads);
    // The child of a fork has none of the parent's threads and perhaps its locked mutexes: it starts from a new pool.
    pthread_atfork(nullptr, nullptr, [] {
      const int threads = reinterpret_cast<Pool*>(storage)->threads();
      new (storage) Pool(threads);
    });
    return made;
  }();
  return *instance;
}

}  // namespace

Executor pool_executor() {
  return {[](int64_t begin, int64_t end, int64_t grain, Executor::Body body, void* context) {
    pool().run(begin, end, grain, body, context);
  }};
}

void set_num_threads(int n) { pool().resize(n); }
int get_num_threads() { return pool().threads(); }

std::string num_threads_warning() {
  const char* text = environment();
  const Wish wish = wished_threads(text);
  if (wish.is_fulfilled) return {};
  return "GENIMG_FAST_NUM_THREADS must be an integer from 1 to " + std::to_string(kMaxThreads) + ", got '" + text +
         "'; " + std::to_string(wish.threads) + " is taken";
}

}  // namespace genimg
