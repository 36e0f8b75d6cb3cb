// Stacks that one operating-system thread switches between: Boost's fcontext where it is installed (10 ns a switch),
// ucontext elsewhere.
#pragma once

#include <cstddef>

#if defined(GENIMG_FCONTEXT)
#include <boost/context/detail/fcontext.hpp>
#else
#include <ucontext.h>
#endif

namespace genimg::cuda_on_cpu {

class Fiber {
 public:
  // `entry` runs at the first resume() and must not return.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs the fiber until it calls suspend(). Not to be called from a fiber.
  void resume();
  // Goes back to whoever resumed this fiber.
  void suspend();

  bool has_on_stack(const void* address) const;

 private:
  static void start(Fiber* self);
  void switch_in();
  void switch_out();

  void (*entry_)();
  char* stack_;
  void* own_fake_stack_ = nullptr;  // AddressSanitizer's, and where the resumer's stack lies
  const void* resumer_stack_ = nullptr;
  size_t resumer_stack_size_ = 0;
#if defined(GENIMG_FCONTEXT)
  static void start_fcontext(boost::context::detail::transfer_t transfer);
  boost::context::detail::fcontext_t context_, resumer_ = nullptr;
#else
  static void start_ucontext(unsigned low, unsigned high);
  ucontext_t context_, resumer_;
#endif
};

}  // namespace genimg::cuda_on_cpu
