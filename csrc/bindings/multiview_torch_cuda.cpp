// The multi-view operators on CUDA tensors, and on the host's harness.
