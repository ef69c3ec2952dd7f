"""The job that `gridmark run` hands over: its file, with what was typed on top, and its files uploaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from server.client import Client, Json

MAX_SECRET_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The options of `gridmark run`, as click read them; None and () where nothing was typed."""

    name: str | None
    cpus: float | None
    memory: int | None
    disk: int | None
    gpus: float | None
    image: str | None
    env: tuple[str, ...]
    secret: tuple[str, ...]
    where: str | None
    region: str | None
    max_price: float | None
    max_duration: float | None
    deadline: float | None
    retries: int | None
    inputs: tuple[str, ...]
    folders: tuple[str, ...]
    artifacts: tuple[str, ...]
    checkpoint: str | None
    policy: str | None
    work: str | None
    priority: int | None
    preemptible: bool
    no_network: bool
    read_only: bool


def merged(
    content: Json, command: Sequence[str], typed: Typed, environment: Mapping[str, str], *, now_unix_s: float
) -> Json:
    """The job document: what was typed replaces the file's value; lists and maps are added to."""
    for option, number in (("--cpus", typed.cpus), ("--gpus", typed.gpus), ("--max-price", typed.max_price)):
        if number is not None and not math.isfinite(number):
            raise click.BadParameter(f"a number expected; found {number:g}", param_hint=option)
    job = dict(content)
    if command:
        job["command"] = list(command)
    job.update(
        _given(
            name=typed.name,
            image=typed.image,
            region=typed.region,
            max_price=typed.max_price,
            max_duration=None if typed.max_duration is None else max(1, round(typed.max_duration)),
            deadline=None if typed.deadline is None else round(now_unix_s + typed.deadline),
            retries=typed.retries,
            checkpoint=typed.checkpoint,
            policy=typed.policy,
            priority=typed.priority,
            preemptible=True if typed.preemptible else None,
            network=False if typed.no_network else None,
            read_only=True if typed.read_only else None,
        )
    )
    if typed.where:
        job["where"] = f"({job['where']}) and ({typed.where})" if job.get("where") else typed.where
    if typed.work:
        job["work"] = _work(typed.work)
    _add_resources(job, typed)
    _extend(job, "env", dict(_pair(one, environment, "--env") for one in typed.env))
    _extend(job, "secrets", dict(_secret(one, environment) for one in typed.secret))
    if typed.artifacts:
        job["artifacts"] = [*_list(job, "artifacts"), *typed.artifacts]
    entries = [*map(_input, typed.inputs), *map(_folder, typed.folders)]
    if entries:
        job["inputs"] = [*_list(job, "inputs"), *entries]
    return job


def uploaded(client: Client, job: Json, base: Path, environment: Mapping[str, str]) -> Json:
    """`job` with its local files and folders handed over, and its secrets looked up.

    Args:
        base: the folder that relative paths of the document start from.
    """
    found = dict(job)
    if isinstance(job.get("inputs"), list):
        found["inputs"] = [_handed(client, one, base) for one in job["inputs"]]
    if isinstance(job.get("secrets"), dict):
        found["secrets"] = {name: _looked_up(name, value, base, environment) for name, value in job["secrets"].items()}
    return found


def _handed(client: Client, entry: Any, base: Path) -> Any:
    from server import client_upload

    if not isinstance(entry, dict) or not ({"file", "folder"} & entry.keys()):
        return entry
    rest = {name: value for name, value in entry.items() if name not in ("file", "folder", "to")}
    if len({"file", "folder"} & entry.keys()) == 2 or {"sha256", "url", "size"} & rest.keys():
        raise click.UsageError(
            "an input comes from one place: `file`, `folder`, `url` with `sha256`, or `sha256` alone"
        )
    if "folder" in entry:
        return client_upload.send_folder(client, base / str(entry["folder"]), str(entry.get("to", "."))) | rest
    path = base / str(entry["file"])
    return client_upload.send_file(client, path, str(entry.get("to", path.name))) | rest


def _looked_up(name: str, value: Any, base: Path, environment: Mapping[str, str]) -> Any:
    match value:
        case {"file": str(file)} if len(value) == 1:
            return _secret_file(base / file)
        case {"env": str(variable)} if len(value) == 1:
            return _from_environment(variable, environment, f"secret {name}")
        case _:
            return value


def _given(**values: object) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _add_resources(job: Json, typed: Typed) -> None:
    gpus = typed.gpus
    if gpus is not None and gpus != int(gpus) and not 0.001 <= gpus < 1:
        raise click.BadParameter(f"whole GPUs or a share of one, such as 0.25; found {gpus:g}", param_hint="--gpus")
    share = gpus is not None and 0 < gpus < 1
    whole = None if gpus is None else 0 if share else int(gpus)
    milli = None if gpus is None else round(gpus * 1000) if share else 0
    given = _given(cpus=typed.cpus, memory=typed.memory, disk=typed.disk, gpus=whole, gpu_milli=milli)
    if given:
        _extend(job, "resources", given)


def _extend(job: Json, name: str, more: Json) -> None:
    """Add to a map of the document; where the file has something else there, the server says so."""
    before = job.get(name)
    if more and (before is None or isinstance(before, dict)):
        job[name] = {**(before or {}), **more}


def _list(job: Json, name: str) -> list[Any]:
    before = job.get(name)
    return before if isinstance(before, list) else []


def _pair(text: str, environment: Mapping[str, str], option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    return name, value if equals else _from_environment(name, environment, option)


def _secret(text: str, environment: Mapping[str, str]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        return name, _from_environment(name, environment, "--secret")
    return name, _secret_file(Path(value[1:])) if value.startswith("@") else value


def _from_environment(name: str, environment: Mapping[str, str], what: str) -> str:
    if name not in environment:
        raise click.UsageError(f"{what}: {name} is not set here; set it, or give it as {name}=VALUE")
    return environment[name]


def _secret_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise click.UsageError(f"cannot read the secret in {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise click.UsageError(
            f"the secret in {str(path)!r} is not UTF-8 text; encode it, with base64 for example"
        ) from None
    if len(raw) > MAX_SECRET_BYTES:
        raise click.UsageError(f"the secret in {str(path)!r} is longer than {MAX_SECRET_BYTES} bytes; use --input")
    return text.removesuffix("\n")


def _work(text: str) -> Json:
    metric, equals, amount = text.partition("=")
    try:
        if not equals or not math.isfinite(float(amount)):
            raise ValueError
        return {"metric": metric.strip(), "amount": float(amount)}
    except ValueError:
        raise click.BadParameter(
            f"METRIC=AMOUNT, such as matmul.bf16=1e18, expected; found {text!r}", param_hint="--work"
        ) from None


def _input(text: str) -> Json:
    path, to = _source(text)
    return {"file": str(Path(path).absolute()), "to": to or Path(path).name}


def _folder(text: str) -> Json:
    path, to = _source(text)
    return {"folder": str(Path(path).absolute()), "to": to or "."}


def _source(text: str) -> tuple[str, str]:
    """PATH[:TO]; a colon that belongs to the path of something that exists is left alone."""
    path, _, to = text.rpartition(":")
    return (path, to) if path and not Path(text).exists() else (text, "")
