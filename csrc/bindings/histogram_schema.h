// The schemas of the histogram operators, for the CPU's and CUDA's libraries and for the host harness.
//
// pooled: how many trailing axes form a pool, or -1 for all axes; the axes before them are rows. The reference's number
// of rows divides the image's: row i of the image takes row i % rows of the reference. method: histogram::Method.
// is_sorted: the references come from sort_histograms (ascending, NaN at the end) and have no mask. Tensors are
// contiguous; masks are bool, of the shape of what they mask, and an empty list of masks stands for none. Image and
// reference are float32 or float64 alike; or the image is uint8 or uint16 and the reference of the same type or
// float32.
#pragma once

#define GENIMG_HISTOGRAM_SCHEMAS(m)                                                                                   \
  m.def(                                                                                                              \
      "match_histograms(Tensor image, Tensor reference, Tensor? mask, Tensor? reference_mask, int pooled, "           \
      "int method, bool is_sorted) -> Tensor");                                                                       \
  m.def(                                                                                                              \
      "match_histograms_out(Tensor[] image, Tensor[] reference, Tensor[] mask, Tensor[] reference_mask, int pooled, " \
      "int method, bool is_sorted, Tensor(a!)[] out) -> ()");                                                         \
  m.def("sort_histograms(Tensor reference, Tensor? mask, int pooled) -> Tensor");                                     \
  m.def(                                                                                                              \
      "match_histograms_tangent(Tensor direction, Tensor image, Tensor reference, Tensor? mask, "                     \
      "Tensor? reference_mask, int pooled, int method) -> Tensor");                                                   \
  m.def(                                                                                                              \
      "match_histograms_adjoint(Tensor direction, Tensor image, Tensor reference, Tensor? mask, "                     \
      "Tensor? reference_mask, int pooled, int method) -> Tensor")
