"""Proves what this node can do when the server asks: a child of the lowest priority answers one challenge.

The child knows nothing of the server, and the agent nothing of the chain: it carries lines one way and requests the
other. Cancelled for work, the child is gone at once; the server ends the challenge then, which does no harm.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from qualify.records import Json
from scheduler.node.qualification import WORDS_MAX_CHARS, end, lower
from scheduler.node.remote import Remote

#: of a line of the child's: the openings of 64 devices
LINE_BYTES = 64 << 20
#: a child that says nothing for so long hangs; tiles for a GPU's whole memory are made well within it
SILENT_S = 600.0
ROOT = Path(__file__).resolve().parents[2]


class ProvingError(Exception):
    """The challenge was not answered; one sentence."""


def command() -> list[str]:
    """What answers challenges."""
    return [sys.executable, "-P", "-m", "qualify.proof.child"]


async def prove(remote: Remote, argv: list[str], environment: Mapping[str, str]) -> bool:
    """Fetch a challenge and answer it; whether there was one.

    Raises:
        ProvingError: this machine could not.
        RemoteError: the server could not be reached, or did not take an answer.
    """
    issued = await remote.call("POST", "/v1/challenges", document={})
    if issued is None:
        return False
    with tempfile.TemporaryFile() as words:
        child = await _start(argv, environment, words)
        try:
            place, opened = await _answer(remote, child, issued, words)
        finally:
            await end(child)  # before the last word is said: the next challenge may follow at once
    await remote.call("POST", f"{place}/openings", document=opened)
    return True


async def _start(argv: list[str], environment: Mapping[str, str], words: IO[bytes]) -> asyncio.subprocess.Process:
    path = ":".join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=words,
        env={**environment, "PYTHONPATH": path},
        start_new_session=True,
        limit=LINE_BYTES,
    )
    lower(child.pid)
    return child


async def _answer(
    remote: Remote, child: asyncio.subprocess.Process, issued: Any, words: IO[bytes]
) -> tuple[str, dict[str, Json]]:
    """Lead the child through the challenge; the challenge's place, and what the child lays open at the end."""
    try:
        place = f"/v1/challenges/{issued['challenge']['id']}"
        line = {"challenge": issued["challenge"], "device_kind": issued["device_kind"]}
    except (KeyError, TypeError):
        raise ProvingError("the server's challenge is none") from None
    await _say(child, line, words)
    wanted = await remote.call("POST", f"{place}/ready", document={})
    while isinstance(wanted, dict) and "salt" in wanted:
        ran = await _say(child, wanted, words)
        wanted = await remote.call("POST", f"{place}/epochs", document=ran)
    if not isinstance(wanted, dict) or "open" not in wanted:
        raise ProvingError("the server's answer is neither a salt nor what is to be opened")
    return place, await _say(child, wanted, words)


async def _say(child: asyncio.subprocess.Process, line: Json, words: IO[bytes]) -> dict[str, Json]:
    """Tell the child a line and get its answer."""
    if child.stdin is None or child.stdout is None:
        raise ProvingError("the prover has no pipes")
    try:
        child.stdin.write(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        await child.stdin.drain()
        async with asyncio.timeout(SILENT_S):
            answer = await child.stdout.readline()
    except (BrokenPipeError, ConnectionResetError):
        answer = b""
    except TimeoutError:
        raise ProvingError(f"the prover said nothing for {SILENT_S:.0f} s") from None
    except ValueError:
        raise ProvingError(f"the prover said more than {LINE_BYTES} bytes at once") from None
    try:
        said = json.loads(answer)
    except ValueError:
        raise ProvingError(f"the prover ended: {_last_words(words)}") from None
    if not isinstance(said, dict) or "error" in said:
        why = said.get("error") if isinstance(said, dict) else "no answer"
        raise ProvingError(f"the prover cannot: {str(why)[:WORDS_MAX_CHARS]}")
    return said


def _last_words(words: IO[bytes]) -> str:
    words.seek(0)
    lines = words.read().decode(errors="replace").strip().splitlines()
    return lines[-1][-WORDS_MAX_CHARS:] if lines else "it left no word"
