#include "bindings/numpy.h"

namespace genimg::bindings {

void register_steerable_freq(pybind11::module_&) {}

}  // namespace genimg::bindings
