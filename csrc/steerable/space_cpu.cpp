#include "steerable/space.h"
