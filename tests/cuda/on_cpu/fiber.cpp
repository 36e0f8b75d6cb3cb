#include "on_cpu/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace genimg::cuda_on_cpu {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;  // redzones make frames several times larger
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// The page below the stack is not accessible: an overflow stops the program instead of corrupting another thread.
char* allocate_stack() {
  const size_t guard = page_bytes();
  void* memory =
      mmap(nullptr, guard + kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, guard, PROT_NONE);
  return static_cast<char*>(memory) + guard;
}

#if defined(__SANITIZE_ADDRESS__)
void announce_switch(void** fake_stack, const void* stack, size_t size) {
  __sanitizer_start_switch_fiber(fake_stack, stack, size);
}
// A thread that was given up leaves its frames' redzones behind.
void forget_redzones(char* stack) { __asan_unpoison_memory_region(stack, kStackBytes); }
void confirm_switch(void* fake_stack, const void** old_stack, size_t* old_size) {
  __sanitizer_finish_switch_fiber(fake_stack, old_stack, old_size);
}
#else
void announce_switch(void**, const void*, size_t) {}
void confirm_switch(void*, const void**, size_t*) {}
void forget_redzones(char*) {}
#endif

}  // namespace

Fiber::~Fiber() {
  forget_redzones(stack_);
  munmap(stack_ - page_bytes(), page_bytes() + kStackBytes);
}

bool Fiber::has_on_stack(const void* address) const {
  const char* place = static_cast<const char*>(address);
  return stack_ <= place && place < stack_ + kStackBytes;
}

void Fiber::start(Fiber* self) {
  confirm_switch(nullptr, &self->resumer_stack_, &self->resumer_stack_size_);
  self->entry_();
  __builtin_trap();
}

void Fiber::resume() {
  void* resumer_fake_stack = nullptr;
  announce_switch(&resumer_fake_stack, stack_, kStackBytes);
  switch_in();
  confirm_switch(resumer_fake_stack, nullptr, nullptr);
}

void Fiber::suspend() {
  announce_switch(&own_fake_stack_, resumer_stack_, resumer_stack_size_);
  switch_out();
  confirm_switch(own_fake_stack_, &resumer_stack_, &resumer_stack_size_);
}

#if defined(__x86_64__)

// switch_stack(from, to): leaves the registers that a function must preserve on the stack and its pointer in *from, and
// goes on where `to` was left. enter_fiber: where a new stack begins, with what its first switch puts into registers.
asm(R"(
.text
genimg_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
genimg_enter_fiber:
  movq %r12, %rdi
  call *%r13
  ud2
)");
extern "C" __attribute__((visibility("hidden"))) void genimg_switch_stack(void** from, void* to);
extern "C" __attribute__((visibility("hidden"))) void genimg_enter_fiber();

Fiber::Fiber(void (*entry)()) : entry_(entry), stack_(allocate_stack()) {
  void** top = reinterpret_cast<void**>(stack_ + kStackBytes) - 2;
  *--top = reinterpret_cast<void*>(&genimg_enter_fiber);
  top -= 6;  // r15, r14, r13, r12, rbx, rbp
  top[2] = reinterpret_cast<void*>(&start);
  top[3] = this;
  context_ = top;
}

void Fiber::switch_in() { genimg_switch_stack(&resumer_, context_); }
void Fiber::switch_out() { genimg_switch_stack(&context_, resumer_); }

#else

Fiber::Fiber(void (*entry)()) : entry_(entry), stack_(allocate_stack()) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  const auto self = reinterpret_cast<uintptr_t>(this);  // makecontext passes ints only
  makecontext(&context_, reinterpret_cast<void (*)()>(&start_ucontext), 2, static_cast<unsigned>(self),
              static_cast<unsigned>(static_cast<uint64_t>(self) >> 32));
}

void Fiber::start_ucontext(unsigned low, unsigned high) {
  start(reinterpret_cast<Fiber*>(static_cast<uintptr_t>(low | static_cast<uint64_t>(high) << 32)));
}

void Fiber::switch_in() { swapcontext(&resumer_, &context_); }
void Fiber::switch_out() { swapcontext(&context_, &resumer_); }

#endif

}  // namespace genimg::cuda_on_cpu
