// The library's own threads, for callers that bring none (the NumPy door).
#pragma once

#include "common/executor.h"

namespace genimg {

// Runs on the pool of set_num_threads() threads. Nested calls, and calls while another thread holds the pool, run
// serially. After a fork the child builds its own threads at its first call.
Executor pool_executor();

// Number of threads of pool_executor, the calling one included. At first GENIMG_FAST_NUM_THREADS, else the number of
// processors this process may run on. n < 1 is taken as 1.
void set_num_threads(int n);
int get_num_threads();

}  // namespace genimg
