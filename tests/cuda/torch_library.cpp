// Opens the operator namespace of the harness; each family's CUDA binding adds its operators to it.
#include "bindings/torch_cuda.h"

#define GENIMG_LIBRARY(space, m) STABLE_TORCH_LIBRARY(space, m)
GENIMG_LIBRARY(GENIMG_CUDA_NAMESPACE, m) { (void)m; }
