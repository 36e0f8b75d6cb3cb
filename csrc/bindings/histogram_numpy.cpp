#include "bindings/numpy.h"

namespace genimg::bindings {

void register_histogram(pybind11::module_&) {}

}  // namespace genimg::bindings
