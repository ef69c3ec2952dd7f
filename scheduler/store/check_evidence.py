"""Whether the evidence is what was written, and what is listed as proved follows from it.

Every entry is judged by its content, so this takes about a second for each 10,000. It is read a little at a time, each
part as of its own moment, so that the write-ahead log can begin anew in between: entries are only ever added.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping

from qualify.proof.evidence import NO_ENTRY, check_chain
from qualify.proof.strict import ProtocolError
from scheduler.figure import Figure
from scheduler.proofs.evidence import plain, rebuild
from scheduler.proofs.rows import EvidenceEntry, Proof
from scheduler.store import evidence, text
from scheduler.store.connection import freeze, thaw

#: entries that are judged before others have their turn: a millisecond or two
AT_ONCE = 20

_NEXT_NODE = "select id, proof from node where id > :after order by id limit 1"


def broken(db: sqlite3.Connection, pause: Callable[[], None]) -> Iterator[str]:
    """Entries that were changed, are missing, or cannot be read, a sentence each.

    Args:
        pause: called after every few entries.
    """
    before: tuple[int, bytes] | None = (0, NO_ENTRY)
    at = 0
    while found := evidence.after(db, at, limit=AT_ONCE):
        for row in found:
            at = row.seq
            try:
                entry, kept = plain(row), bytes.fromhex(row.sha256)
            except (ProtocolError, ValueError) as error:
                yield f"entry {row.seq} of the evidence cannot be read: {error}"
                before = None
            else:
                yield from check_chain([(entry, kept)], after=before)
                before = row.seq, kept
        pause()


def unproved(db: sqlite3.Connection, pause: Callable[[], None]) -> Iterator[str]:
    """Nodes of which something else is listed as proved than their evidence says, a sentence for each figure.

    Args:
        pause: called after every few entries, and after each node.
    """
    at = 0
    while True:
        freeze(db)
        try:
            row = db.execute(_NEXT_NODE, {"after": at}).fetchone()
            if row is None:
                return
            at = row["id"]
            entries = _paced(evidence.of_node(db, at), pause)
            yield from _differing(at, text.record(Proof, row["proof"]).figures, entries)
        finally:
            thaw(db)
        pause()


def _paced(entries: Iterator[EvidenceEntry], pause: Callable[[], None]) -> Iterator[EvidenceEntry]:
    for number, entry in enumerate(entries, 1):
        yield entry
        if number % AT_ONCE == 0:
            pause()


def _differing(node: int, listed: Mapping[str, Figure], entries: Iterator[EvidenceEntry]) -> Iterator[str]:
    try:
        proved = rebuild(entries).get(node, {})
    except (ProtocolError, ValueError):  # `broken` tells of the entry
        return
    for key in sorted(listed.keys() | proved.keys()):
        if listed.get(key) != proved.get(key):
            yield f"node {node}: {key} is {_told(listed.get(key))} in its row, and {_told(proved.get(key))} by evidence"


def _told(figure: Figure | None) -> str:
    return "none" if figure is None else f"{figure.value:.6g} {figure.unit} of {figure.at_ms}"
