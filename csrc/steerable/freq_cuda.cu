#include "common/cuda.h"
