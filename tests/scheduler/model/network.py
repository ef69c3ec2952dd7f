"""The network of the model: it loses, doubles and delays, and what it carries overtakes what it carried before."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from typing import Any

from tests.scheduler.model.parts import Call


@dataclass(frozen=True)
class Weather:
    """How the network behaves."""

    lose: float = 0.0
    double: float = 0.0
    delay_ms: int = 20  #: at most, each way; messages overtake each other


CALM = Weather()


@dataclass
class Letter:
    """A message on its way."""

    call: Call
    answer: Any = None  #: None = it goes to the server


class Network:
    """What is on its way, and who is cut off."""

    def __init__(self, draw: random.Random) -> None:
        self.weather = CALM
        self.deaf: set[int] = set()  #: nodes that no answer reaches
        self.mute: set[int] = set()  #: nodes whose requests do not arrive
        self._draw = draw
        self._letters: list[tuple[int, int, Letter]] = []  #: heap: true ms, number
        self._number = 0

    def send(self, letter: Letter, now_ms: int) -> None:
        """Perhaps; perhaps twice."""
        for _ in range(1 + (self._draw.random() < self.weather.double)):
            if self._is_cut(letter) or self._draw.random() < self.weather.lose:
                continue
            self.keep(letter, now_ms + int(self._draw.random() * self.weather.delay_ms))

    def keep(self, letter: Letter, until_ms: int) -> None:
        """Whoever it is for is not there just now."""
        self._number += 1
        heapq.heappush(self._letters, (until_ms, self._number, letter))

    def arrived(self, now_ms: int) -> Letter | None:
        """The next that is there by now; what comes to a cut link is gone."""
        while self._letters and self._letters[0][0] <= now_ms:
            letter = heapq.heappop(self._letters)[2]
            if not self._is_cut(letter):
                return letter
        return None

    def _is_cut(self, letter: Letter) -> bool:
        return letter.call.node in (self.mute if letter.answer is None else self.deaf)
