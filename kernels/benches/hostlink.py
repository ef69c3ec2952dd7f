"""Copies between host memory and a device's own, over PCIe or NVLink."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Profile, Setting, Skip, Step, Variant, Work

if TYPE_CHECKING:
    from kernels.cuda.copies import HostLink

PINNED = {"hostlink.h2d": ("up",), "hostlink.d2h": ("down",), "hostlink.both": ("up", "down")}
PAGEABLE = {"hostlink.h2d_pageable": ("up",), "hostlink.d2h_pageable": ("down",)}
KEYS = (*PINNED, *PAGEABLE)
SIZE_BYTES = 256 << 20
KIB, MIB = 1 << 10, 1 << 20
#: smaller copies of the two single ways, for what a copy costs before its first byte
CURVE_BYTES: dict[Profile, tuple[int, ...]] = {
    "quick": (),
    "standard": (4 * KIB, 64 * KIB, MIB, 16 * MIB),
    "deep": tuple(4 * KIB * 4**step for step in range(8)),
}
CURVED = ("hostlink.h2d", "hostlink.d2h")
CURVE_SHARE = 0.2
MEMORY_PART = 0.25  # of the GPU's free memory, for three buffers of that size
LINK_BUSY_BYTES = 64 * MIB  # at least so much is on its way when the link's state is read
SHARES = dict.fromkeys(PAGEABLE, 0.5)


def on_cuda(setting: Setting) -> Iterator[Step]:
    """Pinned copies by the GPU's events, pageable ones by the host's clock; from the CPUs next to the GPU."""
    pinned = [key for key in PINNED if setting.wants(key)]
    pageable = [key for key in PAGEABLE if setting.wants(key)]
    if not pinned and not pageable:
        return
    from kernels.cpu import crew
    from kernels.cuda import products

    device = products.require_torch(setting.device.index)
    room = products.free_bytes(setting.device.index)
    if room * MEMORY_PART < 3 * SIZE_BYTES:
        reason = f"needs three buffers of {SIZE_BYTES >> 20} MiB in a quarter of {room >> 20} MiB free on the GPU"
        yield from (Skip(key=key, reason=reason) for key in (*pinned, *pageable))
        return
    with crew.pinned(*setting.device.cpus) as bound:
        context: dict[str, object] = {"cpus": list(setting.device.cpus), "bound": bound}
        for size_bytes in CURVE_BYTES[setting.profile]:
            curved = [key for key in pinned if key in CURVED]
            yield from _cases(setting, device, size_bytes, curved, context, is_pinned=True)
        yield from _cases(setting, device, SIZE_BYTES, pinned, context, is_pinned=True)
        yield from _cases(setting, device, SIZE_BYTES, pageable, context, is_pinned=False)


def _cases(
    setting: Setting, device: str, size_bytes: int, keys: Sequence[str], context: dict[str, object], *, is_pinned: bool
) -> Iterator[Case]:
    from kernels.cuda.copies import HostLink, link_under_load

    if not keys:
        return
    link = HostLink(device, size_bytes, pinned=is_pinned, seed=setting.seed)
    address = setting.device.pci_address
    state = link_under_load(link, address, copies=max(8, LINK_BUSY_BYTES // size_bytes))
    for key in keys:
        yield _case(link, key, address, context | state | {"pinned": is_pinned, "size_bytes": size_bytes})


def _case(link: HostLink, key: str, address: str | None, context: dict[str, object]) -> Case:
    from kernels.cuda.copies import link_errors, timed

    ways = (PINNED | PAGEABLE)[key]
    call = link.both if len(ways) == 2 else link.up if ways == ("up",) else link.down
    clock = partial(timed, call, link.wait, time.perf_counter) if key in PAGEABLE else None
    work = Work(bytes=len(ways) * link.size_bytes)
    variant = Variant(label="copy", call=call, clock=clock, work=work, check=partial(link.check, ways))
    curved = key in CURVED
    return Case(
        key=key,
        unit="B/s",
        variants=(variant,),
        share=CURVE_SHARE if link.size_bytes < SIZE_BYTES else SHARES.get(key, 1.0),
        at=link.size_bytes if curved else None,
        axis="size_bytes" if curved else "",
        context=context,
        after=partial(_errors, address, link_errors(address)),
    )


def _errors(
    address: str | None, before: dict[str, int], _variant: Variant, _seconds: Sequence[float], _calls: int
) -> dict[str, object]:
    """What the link had to send again while this case ran."""
    from kernels.cuda.copies import link_errors, new_errors

    return {"link_errors": new_errors(before, link_errors(address))}


def shares(setting: Setting) -> float:
    """Of all that is yielded: the small copies of a curve share what one large one gets."""
    whole = sum(SHARES.get(key, 1.0) for key in KEYS if setting.wants(key))
    curves = sum(1 for key in CURVED if setting.wants(key)) * len(CURVE_BYTES[setting.profile])
    return whole + CURVE_SHARE * curves


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
    shares=shares,
)
