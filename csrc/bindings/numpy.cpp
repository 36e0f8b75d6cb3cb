#include "bindings/numpy.h"

#include "common/isa.h"
#include "common/pool.h"

PYBIND11_MODULE(_numpy, m, pybind11::mod_gil_not_used()) {
  using namespace genimg;
  m.attr("version") = GENIMG_VERSION;
  m.attr("built_with_cuda") = GENIMG_BUILT_WITH_CUDA;
  m.attr("built_with_torch") = GENIMG_BUILT_WITH_TORCH;
  m.def("active_isa", [] { return isa_name(active_isa()); });
  m.def("set_num_threads", [](int n) {
    const pybind11::gil_scoped_release release;
    set_num_threads(n);
  });
  m.def("get_num_threads", &get_num_threads);
  bindings::register_steerable_freq(m);
  bindings::register_steerable_space(m);
  bindings::register_histogram(m);
  bindings::register_gram(m);
  bindings::register_multiview(m);
}
