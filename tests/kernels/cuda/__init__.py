"""What kernels/cuda can be held to without a GPU."""
