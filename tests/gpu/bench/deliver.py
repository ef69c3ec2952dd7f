"""How each program begins and ends: a GPU or exit code 3, the rows into a file, the table as the last word."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from kernels.device import Device
from tests.gpu.bench import samples
from tests.gpu.bench.ground import ROOT
from tests.gpu.bench.rows import Row, table

NO_GPU = 3
FIND = (sys.executable, "-m", "tests.gpu.bench.child", "device")


def first_gpu(program: str) -> Device | None:
    """The first GPU; None where there is none, with the reason said in a sentence.

    Another process looks: a driver that hangs or crashes costs that one, and nothing of CUDA stays in ours.
    """
    done = subprocess.run(FIND, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        sys.stderr.write(f"{program}: {lines[-1] if lines else 'no GPU was found'}\n")
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return Device(**fields)


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
