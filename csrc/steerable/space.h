// The steerable pyramid in the spatial domain: pyrtools' filters sp0, sp1, sp3, sp5 and its seven edge types.
#pragma once

#include <cstdint>

#include "common/executor.h"

namespace genimg::steerable {}  // namespace genimg::steerable
