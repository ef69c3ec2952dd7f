"""Paths that are too short or too long, and digests that are taken for something else."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from kernels.chain import derive, merkle
from kernels.chain.derive import States
from kernels.chain.engine import Opening
from tests.redteam.attack import Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN, quicker
from tests.redteam.bout import Bout, Json
from tests.redteam.hardware import CPU
from tests.redteam.rogue import Rogue


def _cut(by: Callable[[bytes], bytes]) -> Callable[[Bout], str]:
    def spoil(document: Json) -> Json:
        def shorter(one: Json) -> Json:
            return {**one, "end_path": base64.b64encode(by(base64.b64decode(one["end_path"]))).decode()}

        return {
            "openings": {device: [shorter(one) for one in opened] for device, opened in document["openings"].items()}
        }

    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        return bout.check(quicker(0.5), openings=spoil)

    return run


class OpensNodes(Rogue):
    """States here have 64 bytes, as two digests have: it opens the pair below an inner node as if it were a state."""

    def leaf(self, segment: int, unit: int, commit: int) -> tuple[bytes, bytes]:
        tree, at = self.trees[segment], unit >> 1
        pair = tree[0][at * 64 : at * 64 + 64]
        return pair, merkle.path(tree[1:], at) + bytes(32)


class OpensNeighbours(Rogue):
    """Half of the rows are never worked out; their neighbours, which are, are opened in their place."""

    def leaf(self, segment: int, unit: int, commit: int) -> tuple[bytes, bytes]:
        return super().leaf(segment, unit & ~1, commit)


class NamelessLeaves(Rogue):
    """Hashes states without saying whose they are: good for any place, segment and challenge."""

    def leaves(self, committed: Sequence[States]) -> bytes:
        context = derive.node_context(self.challenge, self.device)
        return b"".join(derive.leaf(context, 0, 0, 0, derive.to_bytes(state)) for state in committed[-1])


class TwoTrees(Rogue):
    """Opens against a tree that it makes when it knows the rows, not the one it committed to."""

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        return [self._anew(*place) for place in asked]

    def _anew(self, segment: int, unit: int, commit: int) -> Opening:
        opened = self.open(segment, unit, commit)
        other = bytes(len(opened.end))
        leaf = derive.leaf(derive.leaf_context(self.challenge, self.device), segment, unit, commit, other)
        leaves = leaf * self.params.leaves
        tree = merkle.tree(leaves, derive.node_context(self.challenge, self.device))
        return Opening(segment, unit, commit, opened.start, opened.start_path, other, merkle.path(tree, unit))


def _attack(name: str, against: str, does: str, run: Callable[[Bout], str], end: str, why: str = "") -> Attack:
    return Attack(name=name, against=against, does=does, run=run, ends=ends(end), why=why, truth=CPU.proves())


def _with(engine: type[Rogue]) -> Callable[[Bout], str]:
    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        return bout.check(quicker(0.5), engine)

    return run


PRIME = "Prime Intellect's gpu-challenge, which did not look at the length of a path"
DOMAINS = "trees whose leaves and nodes are hashed alike (RFC 6962, section 2.1, says why they must not)"
UNCOMMITTED = "not what was committed to"

ATTACKS = (
    _attack(
        "short-path", PRIME, "leaves out the last sibling", _cut(lambda path: path[:-32]), "protocol_error", "base64"
    ),
    _attack("no-path", PRIME, "opens the root itself", _cut(lambda _: b""), "protocol_error", "base64"),
    _attack("long-path", PRIME, "adds a sibling", _cut(lambda path: path + bytes(32)), "protocol_error", "base64"),
    _attack("half-a-sibling", PRIME, "cuts a digest in two", _cut(lambda path: path[:-16]), "protocol_error", "base64"),
    _attack("node-as-leaf", DOMAINS, "opens two digests as a state", _with(OpensNodes), "cheat_proven", UNCOMMITTED),
    _attack(
        "neighbour-s-leaf",
        DOMAINS,
        "opens the row beside the one asked",
        _with(OpensNeighbours),
        "cheat_proven",
        UNCOMMITTED,
    ),
    _attack(
        "nameless-leaves",
        DOMAINS,
        "commits to digests that fit any row",
        _with(NamelessLeaves),
        "cheat_proven",
        UNCOMMITTED,
    ),
    _attack(
        "tree-made-afterwards",
        "roots that are not compared",
        "opens a tree of its own",
        _with(TwoTrees),
        "cheat_proven",
        UNCOMMITTED,
    ),
)
