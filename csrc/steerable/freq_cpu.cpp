#include "steerable/freq.h"
