"""Copies between host memory and a device's own, over PCIe or NVLink."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Setting, Skip, Step, Variant, Work

if TYPE_CHECKING:
    from kernels.cuda.copies import HostLink

PINNED = {"hostlink.h2d": ("up",), "hostlink.d2h": ("down",), "hostlink.both": ("up", "down")}
PAGEABLE = {"hostlink.h2d_pageable": ("up",), "hostlink.d2h_pageable": ("down",)}
KEYS = (*PINNED, *PAGEABLE)
SIZE_BYTES = 256 << 20
MEMORY_PART = 0.25  # of the GPU's free memory, for three buffers of that size
SHARES = dict.fromkeys(PAGEABLE, 0.5)


def on_cuda(setting: Setting) -> Iterator[Step]:
    """Pinned copies by the GPU's events, pageable ones by the host's clock; from the CPUs next to the GPU."""
    pinned = [key for key in PINNED if setting.wants(key)]
    pageable = [key for key in PAGEABLE if setting.wants(key)]
    if not pinned and not pageable:
        return
    from kernels.cpu import crew
    from kernels.cuda.copies import HostLink, link_under_load
    from kernels.cuda.products import require_torch

    device = require_torch(setting.device.index)
    room = setting.device.memory_bytes
    if room is not None and room * MEMORY_PART < 3 * SIZE_BYTES:
        reason = f"needs three buffers of {SIZE_BYTES >> 20} MiB in a quarter of {room >> 20} MiB free on the GPU"
        yield from (Skip(key=key, reason=reason) for key in (*pinned, *pageable))
        return
    with crew.pinned(*setting.device.cpus) as bound:
        context: dict[str, object] = {"size_bytes": SIZE_BYTES, "cpus": list(setting.device.cpus), "bound": bound}
        for keys, is_pinned in ((pinned, True), (pageable, False)):
            if keys:
                link = HostLink(device, SIZE_BYTES, pinned=is_pinned, seed=setting.seed)
                state = link_under_load(link, setting.device.pci_address)
                yield from (_case(link, key, context | state | {"pinned": is_pinned}) for key in keys)


def _case(link: HostLink, key: str, context: dict[str, object]) -> Case:
    from kernels.cuda.copies import timed

    ways = (PINNED | PAGEABLE)[key]
    call = link.both if len(ways) == 2 else link.up if ways == ("up",) else link.down
    clock = partial(timed, call, link.wait, time.perf_counter) if key in PAGEABLE else None
    work = Work(bytes=len(ways) * link.size_bytes)
    variant = Variant(label="copy", call=call, clock=clock, work=work, check=partial(link.check, ways))
    return Case(key=key, unit="B/s", variants=(variant,), share=SHARES.get(key, 1.0), context=context)


BENCH = Bench(
    name="hostlink",
    version=1,
    title="Host link",
    keys={"cuda": KEYS},
    open={"cuda": on_cuda},
    waived={"cpu": "a CPU works in host memory: there is no link between the two"},
    needs=("torch",),
    seconds={"quick": 5.0, "standard": 20.0, "deep": 40.0},
    startup_s=3.0,
    shares=SHARES,
)
