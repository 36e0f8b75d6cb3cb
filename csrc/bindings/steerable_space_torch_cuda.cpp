#include "bindings/torch.h"
