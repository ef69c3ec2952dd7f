"""Which challenges a check of a node is made of, by what the node claims; nothing that is cut counts."""

from __future__ import annotations

from collections.abc import Callable

from qualify.proof import challenge as protocol
from qualify.proof import sizing
from qualify.proof.sizing import Claim, Phase, Scale
from scheduler.proofs.claims import claimed
from scheduler.proofs.rows import Level
from scheduler.records import MarketNode

#: figures of a report by which the memory's bandwidth is expected, the first that it has
BANDWIDTHS = ("memory.read", "memory.copy", "memory.triad")
#: of a CPU's claims, the product that is nearest to the chain's
CPU_PRODUCTS = ("matmul.int8", "matmul.fp32")


def phases(node: MarketNode, level: Level, scale: Scale) -> tuple[Phase, ...]:
    """The challenges of a check of this node, in their order; none where it claims nothing that can be proved."""
    return sizing.plan(claim(node), level, scale)


def lasts_ms(node: MarketNode, level: Level, scale: Scale) -> float:
    """How long a check of this node keeps it busy."""
    return 1000 * sum(phase.busy_s for phase in phases(node, level, scale))


def claim(node: MarketNode) -> Claim:
    """What a node says of each of its devices."""
    told = claimed(node)

    def rate(*names: str) -> float | None:
        return next((told.figures[name].value for name in names if name in told.figures), None)

    if node.device_kind == "cuda":
        devices = tuple(range(len(node.capacity.gpu_milli)))
        products = rate("matmul.int8"), rate("matmul.bf16")
        return Claim(
            kind="cuda",
            devices=devices,
            int8_ops_per_s=products[0],
            bf16_flops=products[1],
            memory_bytes=told.vram_bytes or None,
            memory_bytes_per_s=rate(*BANDWIDTHS),
        )
    return Claim(
        kind="cpu",
        devices=(0,),
        int8_ops_per_s=rate(*CPU_PRODUCTS),
        memory_bytes=node.capacity.memory_bytes or None,
        memory_bytes_per_s=rate(*BANDWIDTHS),
    )


def challenge(
    node: MarketNode, level: Level, phase: Phase, now_ms: int, draw: Callable[[int], bytes]
) -> protocol.Challenge:
    """A challenge with fresh nonces."""
    names = node.proof.devices
    uuids = {index: names[index] if index < len(names) else f"device {index}" for index in phase.devices}
    return sizing.issue(phase, node=node.id, level=level, uuids=uuids, random_bytes=draw, unix_ms=now_ms)


def text(found: protocol.Challenge) -> str:
    """A challenge as it is stored and sent."""
    return protocol.dumps(found).decode("ascii")
