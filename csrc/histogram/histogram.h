// Histogram matching: by value (the CDF mapping of scikit-image) and by rank (the exact multiset).
#pragma once

#include <cstdint>

#include "common/executor.h"

namespace genimg::histogram {}  // namespace genimg::histogram
