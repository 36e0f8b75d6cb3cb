// The operators of the spatial steerable pyramid, shared by the CPU library, the CUDA library and the CPU harness.
//
// `positions` lists which coefficients (numbered as in steerable/space.h) are asked for or given; edge is an index into
// genimg_fast.steerable.space.EDGE_TYPES; `adjoint` asks for the adjoint of the other operator instead.
#pragma once

#define GENIMG_STEERABLE_SPACE_SCHEMAS(m)                                                                            \
  m.def("space_analysis(Tensor image, int[] positions, int order, int levels, int edge, bool adjoint) -> Tensor[]"); \
  m.def(                                                                                                             \
      "space_synthesis(Tensor[] coefficients, int[] positions, int height, int width, int order, int levels, "       \
      "int edge, bool adjoint) -> Tensor");
