"""torch's switches for the precision of products: set, read back, and put back as they were."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kernels.cuda.products import Precision
from kernels.spec import UnsupportedError

FULL_FP32 = ("ieee", "none")  #: what torch's newer name for it may say where TF32 is off
#: how torch from 2.9 on announces that newer name, once, where the older one is used; the older one is what all have
ANNOUNCED = "Please use the new API settings to control TF32"


@contextmanager
def switched(precision: Precision) -> Iterator[dict[str, object]]:
    """Let products be of this precision and of no shorter one; yields what torch says of its switches meanwhile.

    Raises:
        UnsupportedError: the environment overrides a switch, this torch lacks one, or it says otherwise afterwards.
    """
    import torch

    tf32 = precision.key == "matmul.tf32"
    override = os.environ.get("NVIDIA_TF32_OVERRIDE")
    if override is not None and override != str(int(tf32)):
        raise UnsupportedError(f"NVIDIA_TF32_OVERRIDE={override} in the environment overrides the precision; unset it")
    settings = torch.backends.cuda.matmul
    wanted = {
        "allow_tf32": tf32,
        "allow_fp16_reduced_precision_reduction": False,
        "allow_bf16_reduced_precision_reduction": False,
        "allow_fp16_accumulation": precision.accumulated == "float16",
    }
    before = _read(settings, wanted)
    missing = [name for name in wanted if name not in before and wanted[name]]
    if missing:
        raise UnsupportedError(f"torch {torch.__version__} has no {missing[0]}; it came with torch 2.7")
    try:
        _set(settings, {name: wanted[name] for name in before})
        yield _read_back(settings, {name: wanted[name] for name in before})
    finally:
        _set(settings, before)


def _read(settings: Any, names: Iterable[str]) -> dict[str, bool]:
    """Those of these switches that this torch has."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=ANNOUNCED)
        return {name: bool(getattr(settings, name)) for name in names if hasattr(settings, name)}


def _set(settings: Any, wanted: Mapping[str, bool]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=ANNOUNCED)
        for name, value in wanted.items():
            setattr(settings, name, value)


def _read_back(settings: Any, wanted: dict[str, bool]) -> dict[str, object]:
    found: dict[str, object] = {**_read(settings, wanted)}
    for name, value in wanted.items():
        if found[name] != value:
            raise UnsupportedError(f"torch was asked for {name} = {value} and says {found[name]}")
    if hasattr(settings, "fp32_precision"):  # torch 2.9 and newer
        found["fp32_precision"] = said = str(settings.fp32_precision)
        if not wanted["allow_tf32"] and said not in FULL_FP32:
            raise UnsupportedError(f"torch was asked for full fp32 and says it multiplies in {said}")
    return found
