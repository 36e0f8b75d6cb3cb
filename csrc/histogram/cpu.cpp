#include "histogram/histogram.h"
