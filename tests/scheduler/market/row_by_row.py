"""The offers' language asked of one node at a time, in plain Python: what the masks are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from scheduler.lifecycle import shown
from scheduler.market.syntax import (
    Among,
    And,
    Arithmetic,
    Call,
    Compare,
    Expression,
    Name,
    Negative,
    Not,
    Or,
    Quantity,
    Text,
    Truth,
)
from scheduler.records import MarketNode

Value = float | str | bool | None  #: None = unknown

DAY_MS = 86_400_000
_FIELDS: Mapping[str, Callable[[MarketNode], Value]] = {
    "count": lambda n: float(len(n.capacity.gpu_milli)),
    "free": lambda n: float(len(n.capacity.gpu_milli)),
    "cpus": lambda n: n.capacity.cpu_milli / 1000,
    "vram": lambda n: float(n.vram_bytes),
    "memory": lambda n: float(n.capacity.memory_bytes),
    "disk_free": lambda n: float(n.capacity.disk_bytes),
    "price": lambda n: float(n.price_uh),
    "health": lambda n: n.health,
    "gpu": lambda n: n.model if n.capacity.gpu_milli else None,
    "model": lambda n: n.model,
    "region": lambda n: n.region,
    "kind": lambda n: n.device_kind,
    "name": lambda n: n.name,
    "state": lambda n: shown(n.standing, online=n.online, draining=n.draining),
    "online": lambda n: n.online,
    "draining": lambda n: n.draining,
    "shares_gpus": lambda n: n.shares_gpus,
}
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def ask(tree: Expression, node: MarketNode, now_ms: int) -> Value:  # noqa: C901 - one case per kind of node
    """What `tree` gives for `node`; the node runs nothing."""
    match tree:
        case Quantity():
            return tree.value
        case Text() | Truth():
            return tree.value
        case Name(name=name):
            return _field(name, node, now_ms)
        case Call(function=function, argument=Name(name=name)):
            return _called(function, name, node, now_ms)
        case Negative(operand=operand):
            value = ask(operand, node, now_ms)
            return -value if isinstance(value, float) else None
        case Arithmetic(sign=sign, left=left, right=right):
            return _reckon(sign, ask(left, node, now_ms), ask(right, node, now_ms))
        case Compare(sign=sign, left=left, right=right):
            return _compare(sign, ask(left, node, now_ms), ask(right, node, now_ms))
        case Among(operand=operand, values=values):
            asked = ask(operand, node, now_ms)
            return _any([_compare("=", asked, ask(value, node, now_ms)) for value in values])
        case Not(operand=operand):
            return _opposite(ask(operand, node, now_ms))
        case And(parts=parts):
            return _opposite(_any([_opposite(ask(part, node, now_ms)) for part in parts]))
        case Or(parts=parts):
            return _any([ask(part, node, now_ms) for part in parts])
    raise AssertionError(tree)


def _field(name: str, node: MarketNode, now_ms: int) -> Value:
    if name == "fresh":
        return node.reported_ms is not None and now_ms - node.reported_ms <= 2 * DAY_MS
    bench, _, case = name.partition(".")
    if bench == "executor":
        return case in node.executors
    if bench == "capability":
        return node.capability.get(case)
    if case:
        return node.figures[name].value if name in node.figures else None
    value = _FIELDS[name](node)
    return None if value == "" else value


def _called(function: str, name: str, node: MarketNode, now_ms: int) -> Value:
    if name == "health":
        return None if node.reported_ms is None else (now_ms - node.reported_ms) / 1000
    if name not in node.figures:
        return None
    figure = node.figures[name]
    if function == "age":
        return (now_ms - figure.at_ms) / 1000
    less_is_better = name in ("memlatency.dram", "network.udp_loss")
    return figure.high if (function == "p05") == less_is_better else figure.low


def _reckon(sign: str, left: Value, right: Value) -> Value:
    if not isinstance(left, float) or not isinstance(right, float):
        return None
    if sign == "/":
        value = left / right if right else math.nan
    else:
        value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return None if math.isnan(value) else value


def _compare(sign: str, left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        if sign == "~":
            return right.casefold() in left.casefold()
        return (left.casefold() == right.casefold()) == (sign == "=")
    assert not isinstance(left, str)
    assert not isinstance(right, str)
    return _COMPARED[sign](left, right)


def _any(values: list[Value]) -> Value:
    if True in values:
        return True
    return None if None in values else False


def _opposite(value: Value) -> Value:
    return None if value is None else not value
