// What the NumPy bindings of all families share. This door never imports torch.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace genimg::bindings {

// Each family adds its functions to the module genimg_fast._numpy.
void register_steerable_freq(pybind11::module_& m);
void register_steerable_space(pybind11::module_& m);
void register_histogram(pybind11::module_& m);
void register_gram(pybind11::module_& m);
void register_multiview(pybind11::module_& m);

}  // namespace genimg::bindings
