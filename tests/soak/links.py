"""What happens to the link of a node: cut, slowed, and open one way only."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

from tests.chaos.fleet import Node
from tests.soak.field import LONG_S, SHORT_S, Field


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def cut(where: Field) -> bool:
    """Nothing comes through."""
    node = where.node(linked=True)
    if node is None:
        return False
    name, _, link = where.namespaces[node.name]
    link(False)

    def mend() -> None:
        link(True)
        with contextlib.suppress(subprocess.CalledProcessError):  # it is there already, or comes with the link
            _run("ip", "-n", name, "route", "add", "default", "via", gateway(where, node))

    where.lasts(where.of_link(node), where.draw.choice((SHORT_S, LONG_S)), mend)
    return True


def gateway(where: Field, node: Node) -> str:
    """Our address on the node's link."""
    number = where.namespaces[node.name][1].removeprefix("gm").removesuffix("b")
    return f"10.213.{number}.1"


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
