// Opens the operator namespace genimg_fast; each family adds its own operators to it.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(genimg_fast, m) { (void)m; }
