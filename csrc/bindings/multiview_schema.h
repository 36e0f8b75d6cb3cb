// The schemas of the multi-view operators.
//
// x: pictures (batch, channels, height, width), contiguous. rows, tables: a plan of views (views/_plan.py), rows int64
// on the CPU, tables int32 on the device of x. Stacks are (copies, views, batch) merged into one axis. factors: float64
// on the CPU, (copies, views). weights: float64 on the CPU, (3, views): guidance, weights, weights of the variance.
// coefficients: float64 on the CPU, 10 numbers (multiview.h, Sampling). All tensors on the device are of one dtype.
// prediction has the channels of the picture or twice as many; reduce's variance is empty where there is none.
#pragma once

#define GENIMG_MULTIVIEW_SCHEMAS(m)                                                                                    \
  m.def("multiview_apply(Tensor x, Tensor rows, Tensor tables, int copies, Tensor? factors) -> Tensor");               \
  m.def(                                                                                                               \
      "multiview_apply_out(Tensor x, Tensor rows, Tensor tables, int copies, Tensor? factors, Tensor(a!) out) -> ()"); \
  m.def(                                                                                                               \
      "multiview_reduce(Tensor prediction, Tensor rows, Tensor tables, Tensor weights, bool guided, int channels) -> " \
      "(Tensor, Tensor)");                                                                                             \
  m.def(                                                                                                               \
      "multiview_reduce_out(Tensor prediction, Tensor rows, Tensor tables, Tensor weights, bool guided, "              \
      "Tensor(a!) noise, Tensor(b!)? variance) -> ()");                                                                \
  m.def(                                                                                                               \
      "multiview_step(Tensor x, Tensor prediction, Tensor? noise, Tensor rows, Tensor tables, Tensor weights, "        \
      "bool guided, Tensor coefficients, int average) -> Tensor");                                                     \
  m.def(                                                                                                               \
      "multiview_step_out(Tensor x, Tensor prediction, Tensor? noise, Tensor rows, Tensor tables, Tensor weights, "    \
      "bool guided, Tensor coefficients, int average, Tensor(a!) out) -> ()")
