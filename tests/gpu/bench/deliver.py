"""How each program begins and ends: a GPU or exit code 3, the rows into a file, the table as the last word."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from kernels.cuda import device as gpus
from kernels.device import Device
from kernels.spec import UnsupportedError
from tests.gpu.bench import samples
from tests.gpu.bench.rows import Row, table

NO_GPU = 3


def first_gpu(program: str) -> Device | None:
    """The first GPU; None where there is none, with the reason said in a sentence."""
    try:
        return gpus.find()[0]
    except UnsupportedError as error:
        why = str(error).partition("; use --device")[0]
        sys.stderr.write(f"{program}: {why}; run it on a machine with an NVIDIA GPU\n")
        return None


def deliver(
    device: Device,
    found: Mapping[str, Sequence[Row]],
    *,
    out: TextIO,
    about: Mapping[str, Any] | None = None,
    folder: Path = samples.FOLDER,
) -> int:
    """Keep each part's rows, print all of them; 0 where every goal is reached, else 1."""
    known = samples.about(device) if about is None else about
    path = None
    for part, rows in found.items():
        path = samples.keep_rows(part, rows, known, device.name, folder)
    every = [row for rows in found.values() for row in rows]
    title = (
        f"{device.name}, driver {known.get('driver')}, CUDA {known.get('cuda')}, {known.get('date')}; kept in {path}"
    )
    out.write(f"\n{table(f'{title}; kept in {path}', every)}")
    out.flush()
    return 1 if not every or any(row.reached is False for row in every) else 0
