// The operators of the statistics on CUDA tensors, and on the host's harness.
