"""NVIDIA GPUs: how one is found and timed, our kernels for it, and the loads that the benches put on it.

What was run on hardware, and what was not: nothing in this folder, and no `cuda` entry of kernels/benches, has run on
a GPU yet. The sources (*.cu) are compiled by nvcc and NVRTC for the architectures since Turing, and run on a CPU with a
header that supplies the CUDA words, their results compared with numpy's; our own product (gemm.py) runs in numba's
simulator, and its machine code is looked at: registers, no spills, sixteen loads for 64 multiply-adds; the timer
is tested with a scripted driver; the products and their checks with torch on a CPU, the sums of tensor cores by a
simulation of what the literature says of them. What only hardware can show is open: every call into cupy's, numba's and
torch's CUDA side (kernels/cuda/library.py), the launch shapes, the length of queues, whether the step at the end of a
cache is as sharp as it is looked for, and every figure. tests/gpu is to be run on the first GPU (`make gpu-test`,
`make gpu-bench`).
"""
