"""What a node's own row says of it: a column of the index each, beside what is free of it and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scheduler.lifecycle import Standing, shown
from scheduler.market.fields import PROVED_MS, REPORTED_MS
from scheduler.proofs.claims import LOCALITY, is_proved
from scheduler.records import MarketNode

INTEGERS: Mapping[str, Callable[[MarketNode], int]] = {
    "id": lambda node: node.id,
    "gpus": lambda node: len(node.capacity.gpu_milli),
    "vram_bytes": lambda node: node.vram_bytes,
    "cpu_milli": lambda node: node.capacity.cpu_milli,
    "memory_bytes": lambda node: node.capacity.memory_bytes,
    "disk_bytes": lambda node: node.capacity.disk_bytes,
    "price_uh": lambda node: node.price_uh,
}
FLOATS: Mapping[str, Callable[[MarketNode], float | None]] = {
    "health": lambda node: node.health,
    REPORTED_MS: lambda node: node.reported_ms,
    PROVED_MS: lambda node: node.proof.proved_ms,
}
TRUTHS: Mapping[str, Callable[[MarketNode], bool]] = {
    "held": lambda node: node.id > 0,
    "online": lambda node: node.online,
    "draining": lambda node: node.draining,
    "retired": lambda node: node.standing is Standing.RETIRED,
    "shares_gpus": lambda node: node.shares_gpus,
    "proved": is_proved,
    "admitted": lambda node: node.standing in (Standing.READY, Standing.DEGRADED),
}
TEXTS: Mapping[str, Callable[[MarketNode], str]] = {
    "name": lambda node: node.name,
    "model": lambda node: node.model,
    "gpu": lambda node: node.model if node.capacity.gpu_milli else "",
    "kind": lambda node: node.device_kind,
    "region": lambda node: node.region,
    "locality": lambda _: LOCALITY,
    "state": lambda node: shown(node.standing, online=node.online, draining=node.draining),
}
