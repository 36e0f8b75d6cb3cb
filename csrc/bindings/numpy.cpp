#include "bindings/numpy.h"

#include <pybind11/stl.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "common/isa.h"
#include "common/pool.h"

namespace {

// Says which environment variables cannot be taken at their word.
std::vector<std::string> environment_warnings() {
  std::vector<std::string> found;
  if (const std::string threads = genimg::num_threads_warning(); !threads.empty()) found.push_back(threads);
  if (!genimg::isa_wish_is_fulfilled())
    found.push_back(
        std::string("GENIMG_FAST_ISA must be one of baseline, v3, v4 and v4x that this processor has, got '") +
        std::getenv("GENIMG_FAST_ISA") + "'; " + genimg::isa_name(genimg::active_isa()) + " is taken");
  return found;
}

}  // namespace

PYBIND11_MODULE(_numpy, m, pybind11::mod_gil_not_used()) {
  using namespace genimg;
  m.attr("version") = GENIMG_VERSION;
  m.attr("built_with_cuda") = GENIMG_BUILT_WITH_CUDA;
  m.attr("built_with_torch") = GENIMG_BUILT_WITH_TORCH;
  m.def("active_isa", [] { return isa_name(active_isa()); });
  m.attr("max_num_threads") = kMaxThreads;
  m.def("environment_warnings", &environment_warnings);
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
