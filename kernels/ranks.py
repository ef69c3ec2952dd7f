"""The rank processes of a collective: one launcher imports torch once and forks them all.

Importing torch costs a second and more of CPU time. The launcher keeps every thread pool at one thread, so it has no
thread but its own when it forks, and N ranks start in the time of one. Run by `kernels.collective`; each rank
answers requests on the socket it was given, and ends when that socket closes or the launcher dies.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from kernels import companion
from kernels.conditions import die_with_parent

if TYPE_CHECKING:
    from torch import Tensor

MESSAGE_BYTES = 1 << 16
#: elements after which a rank's data repeats: a prime, so that no segment of a ring starts at the same value
PERIOD = 4093
#: values are below this; the sum over 4096 ranks is still exact in a float32 (2^24)
VALUES = 4096
MAX_SLOTS = 256
#: how far events and host may differ: queueing the first call and waking the host are the host's alone
WITNESS_PART, WITNESS_S = 0.02, 2e-3


def main(argv: list[str]) -> int:
    """`argv`: the JSON of {"sockets": [fd of each rank], "store": fd, "seed", "largest_bytes", "timeout_s", "backend"}.

    The backend is gloo, or nccl: then rank N works on GPU N.
    """
    companion.begin()
    plan: dict[str, Any] = json.loads(argv[0])
    import torch.distributed  # noqa: F401 - imported here so that the forked ranks share it

    sockets: list[int] = plan["sockets"]
    pids = []
    for rank, descriptor in enumerate(sockets):
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            for other in sockets:
                if other != descriptor:
                    os.close(other)
            os._exit(_serve(rank, plan, socket.socket(fileno=descriptor)))
        pids.append(pid)
    for descriptor in sockets:
        os.close(descriptor)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in pids)


def _serve(rank: int, plan: dict[str, Any], link: socket.socket) -> int:
    """Answer requests until the other end closes; an error is told to the other end and ends the rank."""
    import torch.distributed as dist

    try:
        worker = Rank(rank, plan)
        _tell(link, {"ready": True})
        while line := link.recv(MESSAGE_BYTES):
            _tell(link, worker.answer(json.loads(line)))
    except (
        RuntimeError,
        MemoryError,
        dist.DistBackendError,
    ) as error:  # what torch raises when a peer or memory is gone
        _tell(link, {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"})
        return 1
    return 0


def _tell(link: socket.socket, message: dict[str, Any]) -> None:
    try:
        link.send(json.dumps(message).encode())
    except OSError:
        os._exit(1)  # nobody is left to tell


class Rank:
    """One participant: its data, what the sum must be, and the timed loop.

    The arena is cut into slots of whole periods; each call of a batch sums a slot of its own, freshly filled with
    integers that depend on the rank and on how often it was filled, so that a stale, missing or swapped part of a sum
    cannot go unseen.
    """

    def __init__(self, rank: int, plan: dict[str, Any]) -> None:
        import torch
        import torch.distributed as dist

        torch.set_num_threads(1)
        ranks = len(plan["sockets"])
        self._device = device = "cpu" if plan.get("backend", "gloo") == "gloo" else f"cuda:{rank}"
        if device != "cpu":
            torch.cuda.set_device(rank)
        store = dist.FileStore(f"/proc/self/fd/{plan['store']}", ranks)
        dist.init_process_group(
            plan.get("backend", "gloo"),
            store=store,
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=plan["timeout_s"]),
        )
        tables = torch.stack([_values(plan["seed"] + other) for other in range(ranks)]).to(device)
        self._mine = tables[rank]
        self._sums = {among: tables[:among].sum(0) for among in (2, ranks)}
        # every rank must take part in making a group, its members or not
        pair = {2: dist.new_group([0, 1])} if ranks > 1 else {}
        self._groups = {**pair, ranks: dist.group.WORLD}
        rows = -(-plan["largest_bytes"] // 4 // PERIOD)
        # ones, not zeros or empty: every page is touched now and not in a timed call
        self._arena = torch.ones((max(rows, MAX_SLOTS), PERIOD), dtype=torch.float32, device=device)
        self._all_reduce, self._barrier = dist.all_reduce, dist.barrier
        self._fills = 0
        self._among = ranks
        self._slots: list[Tensor] = []  # of the last batch, holding sums

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to {"do": "run", "size_bytes", "calls", "among": the first so many, "turn"} or {"do": "check"}.

        `turn` differs from request to request by at least `calls`: ranks that sat some out must fill alike again.
        """
        if request["do"] == "run":
            self._fills = request["turn"]
            return {"seconds": self.run(request["size_bytes"], request["calls"], among=request["among"])}
        return {"wrong": self.wrong()}

    def run(self, size_bytes: int, calls: int, *, among: int) -> float:
        """Seconds that `calls` all-reduces of `size_bytes` took here; a barrier precedes them, filling is not timed.

        On a GPU by events of its stream, else by the host's clock.
        """
        seconds = 0.0
        self._among, group = among, self._groups[among]
        while calls > 0:
            self._slots = self._fill(size_bytes // 4, calls)
            self._barrier(group=group)
            self._settle()
            seconds += self._timed(partial(self._reduce_all, group))
            calls -= len(self._slots)
        return seconds

    def _reduce_all(self, group: Any) -> None:
        for slot in self._slots:
            self._all_reduce(slot, group=group)

    def _timed(self, work: Callable[[], None]) -> float:
        if self._device == "cpu":
            start = time.perf_counter_ns()
            work()
            return (time.perf_counter_ns() - start) * 1e-9
        import torch

        return by_events(work, partial(torch.cuda.Event, enable_timing=True), self._settle, time.perf_counter)

    def _settle(self) -> None:
        """Return when a GPU is done with what was queued; a CPU is when its call returns."""
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize(self._device)

    def wrong(self) -> str | None:
        """The first element of the last batch that is not the exact sum over the ranks; None = all are."""
        expected = self._sums[self._among].roll(self._fills)
        for number, slot in enumerate(self._slots):
            found = first_difference(slot, expected)
            if found:
                return f"element {found[0]} of call {number} is {found[1]:g}, its exact sum is {found[2]:g}"
        return None

    def _fill(self, length: int, calls: int) -> list[Tensor]:
        """Fresh data in as many slots as fit and are needed; the slots, each a flat view of `length` elements."""
        rows = -(-length // PERIOD)
        count = min(calls, len(self._arena) // rows, MAX_SLOTS)
        self._fills += 1
        width = min(length, PERIOD)
        self._arena[: count * rows, :width] = self._mine.roll(self._fills)[:width]
        return [self._arena[k * rows : (k + 1) * rows].view(-1)[:length] for k in range(count)]


def by_events(
    work: Callable[[], None], event: Callable[[], Any], settle: Callable[[], None], now: Callable[[], float]
) -> float:
    """Seconds between two events of the current stream around what `work` queues, with the host's clock as a witness.

    Args:
        settle: returns when the device is done.

    Raises:
        RuntimeError: the two clocks disagree.
    """
    start, end = event(), event()
    started_s = now()
    start.record()
    work()
    end.record()
    settle()
    host_s = now() - started_s
    device_s = float(start.elapsed_time(end)) * 1e-3
    if abs(host_s - device_s) > max(WITNESS_PART * host_s, WITNESS_S):
        raise RuntimeError(f"the device's events say {device_s:.6f} s, the host's clock {host_s:.6f} s")
    return device_s


def first_difference(slot: Tensor, expected: Tensor) -> tuple[int, float, float] | None:
    """Where a flat `slot` first differs from `expected` repeated over its length: place, found, expected."""
    period = len(expected)
    whole = len(slot) // period * period
    for start, part in ((0, slot[:whole].view(-1, period)), (whole, slot[whole:].view(1, -1))):
        differs = (part != expected[: part.shape[1]]).flatten()
        if bool(differs.any()):
            place = int(differs.to(int).argmax())
            return start + place, float(part.flatten()[place]), float(expected[place % period])
    return None


def _values(seed: int) -> Tensor:
    """One rank's period of small integers, as float32."""
    import torch

    return torch.randint(VALUES, (PERIOD,), generator=torch.Generator().manual_seed(seed)).to(torch.float32)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
