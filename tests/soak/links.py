"""What happens to the link of a node: cut, slowed, and open one way only."""

from __future__ import annotations

import shutil
import subprocess

from tests.soak.field import LONG_S, SHORT_S, Field


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def cut(where: Field) -> bool:
    """Nothing comes through."""
    node = where.node(linked=True)
    if node is None:
        return False
    link = where.namespaces[node.name][2]
    link(False)
    where.lasts(where.of_link(node), where.draw.choice((SHORT_S, LONG_S)), lambda: link(True))
    return True


def _filtered(where: Field, *rule: str) -> bool:
    node = where.node(linked=True)
    if node is None or shutil.which("iptables") is None:
        return False
    inside = ("ip", "netns", "exec", where.namespaces[node.name][0], "iptables")
    _run(*inside, "-A", *rule, "-j", "DROP")
    where.lasts(where.of_link(node), where.draw.choice((SHORT_S, LONG_S)), lambda: _run(*inside, "-F"))
    return True


def lose_packets(where: Field) -> bool:
    """Four in ten that come in."""
    return _filtered(where, "INPUT", "-m", "statistic", "--mode", "random", "--probability", "0.4")


def deafen(where: Field) -> bool:
    """What the agent says arrives, what it is answered does not."""
    return _filtered(where, "INPUT")


def mute(where: Field) -> bool:
    """The other way round."""
    return _filtered(where, "OUTPUT")


def slow(where: Field) -> bool:
    """To the speed of a modem."""
    node = where.node(linked=True)
    if node is None or shutil.which("tc") is None:
        return False
    name, device, _ = where.namespaces[node.name]
    inside = ("ip", "netns", "exec", name, "tc", "qdisc")
    _run(*inside, "add", "dev", device, "root", "tbf", "rate", "24kbit", "burst", "4kb", "latency", "800ms")
    where.lasts(where.of_link(node), LONG_S, lambda: _run(*inside, "del", "dev", device, "root"))
    return True
