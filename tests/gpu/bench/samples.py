"""What a run on a GPU leaves in reports/samples: its report as JSON and page, and the rows of each comparison."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kernels.device import Device
from qualify import nvml, software
from reports import page
from tests.gpu.bench.command import Ran
from tests.gpu.bench.ground import ROOT
from tests.gpu.bench.rows import Row

FOLDER = ROOT / "reports/samples"
VERSIONS = ("torch", "cupy-cuda12x", "cupy-cuda13x", "numpy", "numba")


def slug(name: str) -> str:
    """A GPU's name as part of a file's: "NVIDIA H100 80GB HBM3" gives nvidia-h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "gpu"


def keep_report(ran: Ran, name: str, folder: Path = FOLDER) -> tuple[Path, Path]:
    """Write the report and its page beside each other."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{slug(name)}.json", folder / f"{slug(name)}.html"
    for path, text in zip(paths, (ran.text, page.page(ran.report)), strict=True):
        _replace(path, text)
    return paths


def keep_rows(part: str, rows: Sequence[Row], about: Mapping[str, Any], name: str, folder: Path = FOLDER) -> Path:
    """Put the rows of one part into bench-<gpu>.json; what other parts left there stays, each with its own date."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"bench-{slug(name)}.json"
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        kept = {}
    kept[part] = {**about, "rows": [{**dataclasses.asdict(row), "reached": row.reached} for row in rows]}
    _replace(path, json.dumps(kept, indent=1) + "\n")
    return path


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text)
    unfinished.replace(path)


def about(device: Device) -> dict[str, Any]:
    """What a ratio is read with: device, driver, CUDA, libraries, kernel, date, commit."""
    return {
        "gpu": device.name,
        "capability": list(device.capability or ()),
        "sms": device.sms,
        **driver(),
        **{name: found for name in VERSIONS if (found := software.installed(name))},
        "kernel": platform.release(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(),
    }


def commit() -> str:
    """What the files here were checked out from; empty where git, or its folder, did not travel with them."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False).stdout.strip()
    except OSError:
        return ""


def driver() -> dict[str, str | None]:
    """The driver's version and the CUDA version it offers, as NVML tells them."""
    try:
        library = nvml.open_nvml()
        return {"driver": library.driver_version(), "cuda": library.cuda_version()}
    except nvml.NvmlError:
        return {"driver": None, "cuda": None}
