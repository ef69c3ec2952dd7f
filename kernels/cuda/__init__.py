"""The place of the CUDA device and its raw kernels; no case runs on CUDA yet."""
