"""Every way to spoil one place of a JSON document."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

#: values that hardly any place takes; where one is taken, it must be taken for what it says
BAD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    1e999,
    float("nan"),
    1 << 70,
    10**400,
    "",
    "0",
    "zz" * 16,
    "é",
    [],
    [[]],
    {},
    {"0": []},
)


def mutants(document: Any) -> Iterator[tuple[str, Any]]:
    """The document with each of its places replaced, left out, doubled or joined by a stranger; and where it was."""
    for path in list(_places(document)):
        name = "".join(f"[{step!r}]" for step in path)
        for bad in BAD:
            yield f"{name} = {bad!r:.20}", _changed(document, path, lambda holder, key, bad=bad: _put(holder, key, bad))
        if path:
            yield f"{name} left out", _changed(document, path, lambda holder, key: holder.pop(key))
            yield f"{name} doubled or joined", _changed(document, path, _grow)


def _places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _places(value, (*at, key))
    if isinstance(document, list):
        for index in sorted({0, len(document) - 1} & set(range(len(document)))):  # the first and the last tell all
            yield from _places(document[index], (*at, index))


def _changed(document: Any, path: tuple[Any, ...], change: Any) -> Any:
    whole = {"": copy.deepcopy(document)}
    holder: Any = whole
    *steps, last = ("", *path)
    for step in steps:
        holder = holder[step]
    change(holder, last)
    return whole[""]


def _put(holder: Any, key: Any, value: Any) -> None:
    holder[key] = value


def _grow(holder: Any, key: Any) -> None:
    if isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[f"{key}_"] = holder[key]
