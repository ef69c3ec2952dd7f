"""NVIDIA GPUs: how one is found and timed, our kernels for it, and the loads that the benches put on it.

What was run on hardware, and what was not: nothing in this folder, and no `cuda` entry of kernels/benches, has run on
a GPU yet. The sources (*.cu) are compiled by nvcc and NVRTC for the architectures since Turing, and run on a CPU with a
header that supplies the CUDA words, their results compared with numpy's; the timer is tested with a scripted driver;
the products and their checks with torch on a CPU. What only hardware can show is open: every call into cupy's and
torch's CUDA side (kernels/cuda/library.py), the launch shapes, the length of queues, the tolerance for the sums of
tensor cores, and every figure. tests/gpu is to be run on the first GPU (`make gpu-test`, `make gpu-bench`).
"""
