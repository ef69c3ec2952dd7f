"""NVRTC, the compiler that cupy uses on a GPU machine, called without a GPU."""

from __future__ import annotations

import ctypes
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest


def library() -> ctypes.CDLL:
    """The library of the nvidia-cuda-nvrtc wheel or of an installed CUDA, or the test is skipped."""
    wheels = [found for folder in sys.path for found in Path(folder or ".").glob("nvidia/*/lib/libnvrtc.so.*")]
    name = str(max(wheels)) if wheels else find_library("nvrtc")
    if not name:
        pytest.skip("no NVRTC: neither the package nvidia-cuda-nvrtc nor CUDA's libraries are installed")
    for part in Path(name).parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(part), mode=ctypes.RTLD_GLOBAL)  # it is opened by its bare name, on no path of a wheel
    return ctypes.CDLL(name)


def compiled(source: str, architecture: int) -> tuple[int, str]:
    """How many bytes of machine code `source` becomes, 0 if none, and what the compiler said."""
    nvrtc = library()
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"ours.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture=sm_{architecture}".encode())
    failed = nvrtc.nvrtcCompileProgram(program, 1, options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    code = ctypes.c_size_t()
    if not failed:
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(code))
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return code.value, log.value.decode()


def offered() -> list[int]:
    """The architectures it can compile for."""
    nvrtc = library()
    count = ctypes.c_int()
    nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    nvrtc.nvrtcGetSupportedArchs(found)
    return list(found)
