"""How far a long search is, in one file: it may be stopped at any time and goes on after its last whole slice."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: how the names of counts begin of which the greatest is kept, not the sum
MOST = "most "


@dataclass(slots=True, kw_only=True)
class Part:
    """What one kind of search has done so far."""

    seed: int = 0  #: of the next slice
    slices: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)  #: with the seed that shows each again
    seconds: float = 0.0

    def add(self, counts: dict[str, int], failures: list[str], seconds: float) -> None:
        """A slice is over."""
        self.seed, self.slices, self.seconds = self.seed + 1, self.slices + 1, self.seconds + seconds
        self.failures += failures
        for name, count in counts.items():
            before = self.counts.get(name, 0)
            self.counts[name] = max(before, count) if name.startswith(MOST) else before + count


@dataclass(slots=True, kw_only=True)
class Progress:
    """All parts, by name."""

    path: Path
    parts: dict[str, Part] = field(default_factory=dict)

    @classmethod
    def begin(cls, path: Path, *, resume: bool) -> Progress:
        """What the file holds, or nothing yet."""
        if not resume or not path.exists():
            return cls(path=path)
        held = json.loads(path.read_text())
        return cls(path=path, parts={name: Part(**part) for name, part in held.items()})

    def part(self, name: str) -> Part:
        """That of one search."""
        return self.parts.setdefault(name, Part())

    def save(self) -> None:
        """Write it so that a reader sees the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".part")
        unfinished.write_text(json.dumps({name: asdict(part) for name, part in self.parts.items()}, indent=1) + "\n")
        unfinished.replace(self.path)

    @property
    def failures(self) -> list[str]:
        """Of all parts."""
        return [f"{name}: {one}" for name, part in self.parts.items() for one in part.failures]
