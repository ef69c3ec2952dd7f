"""A group of local rank processes that reduce together, spoken to from the benchmark over sockets."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import socket
import time
from collections.abc import Iterator
from typing import Any

from kernels import companion
from kernels.ranks import MESSAGE_BYTES
from kernels.spec import BenchError, WrongResultError

#: gloo looks its address up by the host's name and NCCL takes any interface but this one; the ranks are all here
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
#: a thread pool in the launcher would not survive its forks
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
START_S = 30.0


class Group:
    """Ranks that are up and connected. The first failure is final: every later call raises it again."""

    def __init__(self, links: list[socket.socket], launcher: companion.Companion, patience_s: float) -> None:
        self._links, self._launcher, self._patience_s = links, launcher, patience_s
        self._broken: str | None = None
        self._among = len(links)
        self._turn = 0

    @property
    def ranks(self) -> int:
        """How many take part."""
        return len(self._links)

    def run(self, size_bytes: int, calls: int, *, among: int) -> float:
        """Seconds of the slowest rank for `calls` all-reduces of `size_bytes` in a row.

        Args:
            among: how many ranks take part: all of them, or the first two.

        Raises:
            BenchError: a rank ended, or gave no answer in time.
        """
        self._among = among
        request = {"do": "run", "size_bytes": size_bytes, "calls": calls, "among": among, "turn": self._turn}
        self._turn += calls
        return max(float(reply["seconds"]) for reply in self.ask(request, self._patience_s))

    def check(self) -> None:
        """Compare every sum of the last batch, on every rank that took part, with its exact value.

        Raises:
            WrongResultError: one differs.
            BenchError: a rank ended, or gave no answer in time.
        """
        for rank, reply in enumerate(self.ask({"do": "check"}, self._patience_s)):
            if reply["wrong"]:
                raise WrongResultError(f"all-reduce over {self._among} ranks: on rank {rank} {reply['wrong']}")

    def ask(self, request: dict[str, Any] | None, patience_s: float) -> list[dict[str, Any]]:
        """Send `request` (None = only wait) to all ranks and return their replies in the order of the ranks."""
        if self._broken:
            raise BenchError(self._broken)
        try:
            if request is not None:
                line = json.dumps(request).encode()
                for link in self._links[: self._among]:
                    link.send(line)
            return self._replies(patience_s)
        except (BenchError, OSError) as error:
            self._broken = str(error)
            raise BenchError(self._broken) from error

    def _replies(self, patience_s: float) -> list[dict[str, Any]]:
        until = time.monotonic() + patience_s
        replies: dict[int, dict[str, Any]] = {}
        with selectors.DefaultSelector() as selector:
            for rank, link in enumerate(self._links[: self._among]):
                selector.register(link, selectors.EVENT_READ, rank)
            while len(replies) < self._among:
                ready = selector.select(max(0.0, until - time.monotonic()))
                if not ready:
                    late = [rank for rank in range(self._among) if rank not in replies]
                    raise BenchError(f"ranks {late} of {self.ranks} gave no answer within {patience_s:.0f} s")
                for key, _ in ready:
                    replies[key.data] = self._reply(key.data)
                    selector.unregister(key.fileobj)
        return [replies[rank] for rank in range(self._among)]

    def _reply(self, rank: int) -> dict[str, Any]:
        try:
            line = self._links[rank].recv(MESSAGE_BYTES)
        except ConnectionResetError:
            line = b""
        if not line:
            raise BenchError(f"rank {rank} of {self.ranks} ended unexpectedly: {self._launcher.last_words()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise BenchError(f"rank {rank} of {self.ranks} failed: {reply['error']}")
        return reply


@contextlib.contextmanager
def group(ranks: int, *, largest_bytes: int, seed: int, patience_s: float, backend: str = "gloo") -> Iterator[Group]:
    """Start `ranks` processes joined by gloo over loopback, or by nccl; all are gone when the block is left.

    They meet through a file in memory, so nothing listens but their libraries' own sockets on 127.0.0.1 and nothing is
    left on disk.

    Args:
        backend: "gloo", or "nccl" for one rank per GPU.
        largest_bytes: the largest message that will be asked for; each rank holds about this much.
        patience_s: how long any one batch may take before its ranks count as hung.

    Raises:
        BenchError: they did not start.
        ImportError: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise ImportError("No module named 'torch'", name="torch")
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(ranks)]
    store = os.memfd_create("gridmark-ranks")
    with contextlib.ExitStack() as stack:
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
        stack.callback(os.close, store)
        descriptors = [theirs.fileno() for _, theirs in pairs]
        plan = {
            "sockets": descriptors,
            "store": store,
            "seed": seed,
            "largest_bytes": largest_bytes,
            "timeout_s": max(1.0, patience_s),
            "backend": backend,
        }
        launcher = stack.enter_context(
            companion.run(
                "kernels.ranks",
                json.dumps(plan),
                pass_fds=(*descriptors, store),
                environment={**LOOPBACK, **ONE_THREAD},
            )
        )
        for _, theirs in pairs:
            theirs.close()  # else a rank's end would never be seen
        found = Group([ours for ours, _ in pairs], launcher, patience_s)
        found.ask(None, START_S)
        yield found
