"""What an attacker is, and what it may come to."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tests.redteam.attackers

if TYPE_CHECKING:
    from tests.redteam.bout import Bout

#: endings that are no verdict of a challenge
REFUSED, NOT_ASKED = "refused", "not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One way to be listed with more than there is."""

    name: str
    against: str  #: whom it was published against, or whose protocol had the hole
    does: str  #: a sentence
    run: Callable[[Bout], str]  #: plays it; how it ended: an outcome, REFUSED or NOT_ASKED
    ends: frozenset[str]  #: how it may end
    why: str = ""  #: a part of the reason that is given
    truth: Mapping[str, float] = field(default_factory=dict)  #: what it really has; what is not named, nothing
    gains: float = 0.0  #: part above the truth that is known to slip through, and said in the README


def ends(*words: str) -> frozenset[str]:
    """The endings that an attack may come to."""
    return frozenset(words)


def found() -> dict[str, Attack]:
    """Every attack of every module in the folder, by its name."""
    every: dict[str, Attack] = {}
    package = tests.redteam.attackers
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for attack in importlib.import_module(module.name).ATTACKS:
            if attack.name in every:
                raise ValueError(f"{module.name}: there are two attacks named {attack.name!r}")
            every[attack.name] = attack
    return every
