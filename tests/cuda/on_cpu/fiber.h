// Stacks that one operating-system thread switches between. A kernel's barriers are millions of switches: on x86-64 one
// saves the registers that the calling convention asks for and takes a few nanoseconds; ucontext, which serves
// elsewhere, makes two system calls.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
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
#if defined(__x86_64__)
  void* context_;  // stack pointers
  void* resumer_ = nullptr;
#else
  static void start_ucontext(unsigned low, unsigned high);
  ucontext_t context_, resumer_;
#endif
};

}  // namespace genimg::cuda_on_cpu
