// The library's own threads, for callers that bring none (the NumPy door).
#pragma once

#include <string>

#include "common/executor.h"

namespace genimg {

// Runs on the pool of set_num_threads() threads. Nested calls, and calls while another thread holds the pool, run
// serially. After a fork the child builds its own threads at its first call.
Executor pool_executor();

constexpr int kMaxThreads = 1024;

// Largest number of threads of pool_executor, the calling one included; a job starts no more than it has work for, and
// runs on those that could be started. At first GENIMG_FAST_NUM_THREADS, else the number of processors this process may
// run on. n is brought into [1, kMaxThreads].
void set_num_threads(int n);
int get_num_threads();

// Says what is wrong with GENIMG_FAST_NUM_THREADS and which number is taken instead; empty if nothing is.
std::string num_threads_warning();

}  // namespace genimg
