"""Why a job was placed where it is and not elsewhere, in words; scheduler/placement/place.py says what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from server.web import words

#: what stood in the way of a node, by the filter that found it (scheduler.placement.filters.FilterName)
_IN_THE_WAY: Mapping[str, str] = {
    "state": "takes no jobs",
    "offline": "cannot be reached",
    "draining": "is being emptied",
    "stale": "was not measured lately",
    "executor": "does not run such jobs",
    "region": "stands elsewhere",
    "gpus": "has too few GPUs",
    "gpu_sharing": "does not share its GPUs",
    "cpu": "has too few CPUs",
    "memory": "has too little memory",
    "disk": "has too little disk",
    "busy": "is taken",
    "price": "costs too much",
    "where": "does not meet the conditions",
}
_HEADINGS = {"terms": "Ranked by", "rejected": "Left out"}
_UNITS = {"_usd_per_h": " $/h", "_usd": " $", "_s": " s"}


def told(why: Mapping[str, object], name_of: Callable[[int], str]) -> list[tuple[str, str]]:
    """Lines of a heading and a sentence; what this version does not know is shown as it is.

    Args:
        name_of: a node's name by its number.
    """
    lines = [
        (_HEADINGS.get(key, words.title(key)), _line(key, value, why, name_of))
        for key, value in why.items()
        if key not in _ELSEWHERE
    ]
    return [(heading, line) for heading, line in lines if line]


#: said beside another key
_ELSEWHERE = {"nodes"}


def _line(key: str, value: object, why: Mapping[str, object], name_of: Callable[[int], str]) -> str:
    match key, value:
        case "policy", str():
            return value.replace("_", " ")
        case "terms", dict():
            return _terms(value)
        case "candidates", int():
            return f"{value:,} of {words.count(_number(why.get('nodes')), 'node')}"
        case "rejected", dict():
            counts = [f"{_IN_THE_WAY.get(name, words.inline(name))}: {words.inline(n)}" for name, n in value.items()]
            return "; ".join(counts)
        case "runner_up", {"node": int(node), "terms": dict(terms)}:
            return f"{name_of(node)} ({_terms(terms)})"
        case "avoided", int():
            return f"{words.count(value, 'node')} where it was lost or crashed before"
    return words.inline(value)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _terms(terms: Mapping[str, object]) -> str:
    return ", ".join(_term(name, value) for name, value in terms.items())


def _term(name: str, value: object) -> str:
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return f"{words.spaced(name.removesuffix(suffix))} {words.inline(value)}{unit}"
    return f"{words.spaced(name.replace('usd_per_h', '$/h'))} {words.inline(value)}"
