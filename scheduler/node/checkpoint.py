"""Carries a job's checkpoint folder to the server: when it has changed and is quiet, and once more at the end.

A folder that is never quiet is carried, too, after a while: as it was when nothing of it changed while it was packed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

from scheduler.node import artifacts, tree
from scheduler.node.remote import RefusedError, Remote

#: between two looks; a folder that looks the same twice is quiet
LOOK_S = 2.0
#: between two uploads
EVERY_S = 30.0
#: a folder that has changed at every look for so long is not waited for any more
RESTLESS_S = 30.0


class Checkpointer:
    """One attempt's checkpoint folder."""

    def __init__(
        self,
        remote: Remote,
        token: int,
        folder: Path,
        packed: Path,
        *,
        limit_bytes: int,
        pauses: Callable[[], Callable[[], float]],
    ) -> None:
        self._remote, self._token, self._folder, self._packed = remote, token, folder, packed
        self._limit_bytes, self._pauses = limit_bytes, pauses
        self._saved: object = None  #: what the folder looked like when it was last uploaded
        self.trouble = ""  #: why the last one could not be saved

    def begin(self) -> None:
        """What is in the folder now came from the server, or is nothing."""
        self._saved = self._look()

    async def run(self) -> None:
        """Until cancelled, or until the server wants none of it."""
        before, looks = self._saved, 0
        while True:
            await asyncio.sleep(LOOK_S)
            now = await asyncio.to_thread(self._look)
            looks = 0 if now is None or now == self._saved else looks + 1
            if looks and (now == before or looks * LOOK_S >= RESTLESS_S):
                looks = 0
                if not await self.save():
                    return
                if now == before or not self.trouble:
                    await asyncio.sleep(EVERY_S)
            before = now

    async def save(self) -> bool:
        """Pack and upload if it has changed since the last time; False when the server does not want it."""
        now = await asyncio.to_thread(self._look)
        if now is None or now == self._saved:
            return True
        try:
            await asyncio.to_thread(tree.pack, self._folder, self._packed, limit_bytes=self._limit_bytes)
            if await asyncio.to_thread(self._look) != now:  # half of one state and half of another
                self.trouble = "the checkpoint could not be packed: it changed meanwhile"
                return True
            sha256 = await asyncio.to_thread(_digest, self._packed)
            size_bytes = self._packed.stat().st_size
            await artifacts.persist(
                lambda: self._remote.put(
                    self._token, "checkpoint", sha256, lambda: artifacts.pieces(self._packed), size_bytes
                ),
                self._pauses,
            )
        except (tree.TreeError, OSError) as error:  # it may be whole the next time
            self.trouble = f"the checkpoint could not be packed: {error}"
        except RefusedError as error:
            self.trouble = f"the checkpoint was not taken: {error}"
            return False
        else:
            self._saved, self.trouble = now, ""
        finally:
            self._packed.unlink(missing_ok=True)
        return True

    def _look(self) -> object:
        try:
            return tree.fingerprint(self._folder)
        except (tree.TreeError, OSError):
            return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
