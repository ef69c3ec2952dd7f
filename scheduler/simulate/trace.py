"""A workload as two lists, nodes and pods, in the format of Alibaba's GPU cluster trace v2023 (openb).

Format and data: https://github.com/alibaba/clusterdata, cluster-trace-gpu-v2023.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
MOST = 1 << 40  #: of any amount; what is above is a mistake
MOST_GPUS = 64


class TraceError(ValueError):
    """A file is not what was expected: which, where and why, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceNode:
    """A node of the trace."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePod:
    """A job of the trace."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int  #: whole ones, or one of which it takes a part
    each_milli: int  #: of each of them; 1000 = whole
    models: tuple[str, ...] = ()  #: it runs on these only; none = on any
    lasts_s: int | None = None  #: None = the trace does not say

    @property
    def gpu_milli(self) -> int:
        """Thousandths of GPUs in all."""
        return self.gpus * self.each_milli


def read_nodes(path: Path) -> tuple[TraceNode, ...]:
    """The nodes by name: sn, cpu_milli, memory_mib, gpu, model.

    Raises:
        TraceError: the file cannot be read, or is no such list.
    """
    found = _read(path, _node, ("sn", "cpu_milli", "memory_mib", "gpu", "model"))
    if not any(node.gpus for node in found):
        raise TraceError(f"{path} lists no node with GPUs")
    return tuple(sorted(found, key=lambda node: node.name))


def read_pods(path: Path) -> tuple[TracePod, ...]:
    """The jobs by name: name, cpu_milli, memory_mib, num_gpu, gpu_milli; gpu_spec and times where they are known.

    Raises:
        TraceError: the file cannot be read, or is no such list.
    """
    found = _read(path, _pod, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"))
    if not any(pod.gpus for pod in found):
        raise TraceError(f"{path} lists no pod that wants GPUs")
    return tuple(sorted(found, key=lambda pod: pod.name))


def _read(path: Path, parse: Callable[[Mapping[str, str]], T], wanted: tuple[str, ...]) -> list[T]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            lacking = [name for name in wanted if name not in (rows.fieldnames or ())]
            if lacking:
                raise TraceError(f"{path} has no column {' or '.join(lacking)}; wanted are {', '.join(wanted)}")
            return list(_parsed(path, rows, parse))
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} is no table of comma-separated values: {error}") from error


def _parsed(path: Path, rows: csv.DictReader[str], parse: Callable[[Mapping[str, str]], T]) -> Iterator[T]:
    for row in rows:
        try:
            yield parse({name: value or "" for name, value in row.items() if isinstance(name, str)})
        except ValueError as error:
            raise TraceError(f"{path}, line {rows.line_num}: {error}") from error


def _node(row: Mapping[str, str]) -> TraceNode:
    return TraceNode(
        name=row["sn"],
        cpu_milli=_amount(row, "cpu_milli"),
        memory_mib=_amount(row, "memory_mib"),
        gpus=_amount(row, "gpu", MOST_GPUS),
        model=_model(row["model"]),
    )


def _pod(row: Mapping[str, str]) -> TracePod:
    gpus, each_milli = _amount(row, "num_gpu", MOST_GPUS), _amount(row, "gpu_milli", 1000)
    if gpus > 1 and each_milli != 1000:
        raise ValueError(f"wants {each_milli} thousandths of each of {gpus} GPUs; parts are of one GPU only")
    if gpus and not each_milli:
        raise ValueError("wants a GPU, and nothing of it")
    spec = row.get("gpu_spec", "")
    timed = bool(row.get("creation_time") and row.get("deletion_time"))
    return TracePod(
        name=row["name"],
        cpu_milli=_amount(row, "cpu_milli"),
        memory_mib=_amount(row, "memory_mib"),
        gpus=gpus,
        each_milli=each_milli if gpus else 0,
        models=tuple(sorted({_model(model) for model in spec.split("|")})) if spec else (),
        lasts_s=max(_amount(row, "deletion_time") - _amount(row, "creation_time"), 1) if timed else None,
    )


def _amount(row: Mapping[str, str], column: str, most: int = MOST) -> int:
    text = row[column]
    try:
        found = int(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}, wanted a whole number") from None
    if not 0 <= found <= most:
        raise ValueError(f"{column} is {found}, wanted 0 to {most}")
    return found


def _model(text: str) -> str:
    if not text or '"' in text or not text.isprintable():
        raise ValueError(f"{text!r} is no name of a model")
    return text
