"""Entries of the chain of evidence, between the market's rows and the proof's own records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from qualify.proof import evidence, verdict
from qualify.proof.verdict import Outcome
from scheduler.figure import Figure
from scheduler.proofs.claims import proved_figures
from scheduler.proofs.rows import EvidenceEntry


def link(entry: EvidenceEntry) -> EvidenceEntry:
    """The entry with its digest."""
    return replace(entry, sha256=evidence.digest(plain(entry)).hex())


def plain(entry: EvidenceEntry) -> evidence.Entry:
    """The entry as the proof's own rules know it."""
    return evidence.Entry(
        seq=entry.seq,
        prev=bytes.fromhex(entry.prev_sha256),
        challenge=bytes.fromhex(entry.challenge),
        node=entry.node,
        transcript_sha256=bytes.fromhex(entry.transcript_sha256),
        verdict=verdict.from_json(entry.verdict),
        verifier=entry.verifier,
        at_ms=entry.at_ms,
    )


def read(entry: EvidenceEntry) -> tuple[Outcome, dict[str, Figure]]:
    """What an entry says: the outcome, and what was proved of the whole node."""
    found = verdict.from_json(entry.verdict)
    figures = {
        key: Figure(value=one.value, low=one.low, high=one.high, n=one.n, at_ms=entry.at_ms, unit=one.unit)
        for key, one in sorted(found.figures.items())
    }
    return found.outcome, figures


def rebuild(entries: Iterable[EvidenceEntry]) -> dict[int, dict[str, Figure]]:
    """What is proved of each node, from nothing but the chain of evidence."""
    figures: dict[int, dict[str, Figure]] = {}
    corrupt: set[int] = set()
    for entry in entries:
        outcome, found = read(entry)
        if outcome == "hardware_corruption":
            outcome = "cheat_proven" if entry.node in corrupt else outcome
            corrupt.add(entry.node)
        figures[entry.node] = proved_figures(figures.get(entry.node, {}), outcome, found)
    return figures
