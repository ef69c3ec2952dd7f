"""What a query may name: the fields of a node, their units, and the columns they are read from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qualify.proof.verdict import UNITS as PROVED_UNITS
from scheduler.market.listing import installed_reference, known_benches
from scheduler.market.units import BYTES, MONEY_RATE, PURE, TIME, Dimension, dimension_of, usual

Kind = Literal["number", "text", "truth"]
#: of a figure's key, the columns beside its value
LOW, HIGH, AT_MS = "/low", "/high", "/at_ms"
#: when the newest report was measured; NaN = never
REPORTED_MS = "reported_ms"
#: when its proofs were last gone through; NaN = never
PROVED_MS = "proved_ms"
#: a node counts as fresh while its report is at most this old: measured daily, with a day's leave for one that is busy
STALE_AFTER_MS = 48 * 3600 * 1000
#: figures without a unit of time of which less is better
LESS_IS_BETTER = frozenset({"network.udp_loss"})
FUNCTIONS: Mapping[str, str] = {
    "p05": "a figure's pessimistic end: the low end of its 95 % interval, for times and losses the high end",
    "p95": "a figure's optimistic end: the high end of its 95 % interval, for times and losses the low end",
    "age": "how long ago a figure was measured",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing that can be asked of a node."""

    name: str
    kind: Kind
    about: str  #: a few words for people
    column: str
    dimension: Dimension | None = PURE  #: of a number; None = a figure that no node has yet, of any unit
    scale: float = 1.0  #: base units per unit of the column
    at_ms: str | None = None  #: column of when it was measured
    is_figure: bool = False  #: has columns of its interval's ends
    less_is_better: bool = False

    @property
    def is_time(self) -> bool:
        """Whether it is a time."""
        return self.dimension == TIME

    @property
    def unit(self) -> str:
        """A unit people use for it."""
        return usual(self.dimension) if self.dimension is not None else ""


_NUMBERS = (
    ("count", "GPUs of the node", "gpus", PURE, 1.0),
    ("free", "GPUs of which nothing is in use", "gpus_free", PURE, 1.0),
    ("vram", "memory of each GPU", "vram_bytes", BYTES, 1.0),
    ("cpus", "CPUs that jobs may use", "cpu_milli", PURE, 1e-3),
    ("cpus_free", "CPUs that no job has", "cpu_milli_free", PURE, 1e-3),
    ("memory", "memory that jobs may use", "memory_bytes", BYTES, 1.0),
    ("memory_free", "memory that no job has", "memory_bytes_free", BYTES, 1.0),
    ("disk", "disk that jobs may use", "disk_bytes", BYTES, 1.0),
    ("disk_free", "disk that no job has", "disk_bytes_free", BYTES, 1.0),
    ("price", "of the whole node", "price_uh", MONEY_RATE, 1.0),
)
_TEXTS = (
    ("name", "what its owner calls it", "name"),
    ("gpu", "model of its GPUs; unknown for a node without", "gpu"),
    ("model", "model of its GPUs, or of its CPU where it has none", "model"),
    ("kind", "cuda or cpu: what its figures were measured on", "kind"),
    ("region", "where it stands", "region"),
    ("state", "new qualifying ready degraded quarantined retired offline draining", "state"),
    ("locality", "whether it is proved where its work is done: unproven, of every node", "locality"),
)
_TRUTHS = (
    ("online", "it can be reached", "online"),
    ("draining", "it takes no new jobs", "draining"),
    ("fresh", "measured within the last two days", "fresh"),
    ("shares_gpus", "its GPUs are let in thousandths", "shares_gpus"),
)
FIXED: Mapping[str, Field] = {
    **{
        name: Field(name=name, kind="number", about=about, column=column, dimension=dimension, scale=scale)
        for name, about, column, dimension, scale in _NUMBERS
    },
    **{name: Field(name=name, kind="text", about=about, column=column) for name, about, column in _TEXTS},
    **{name: Field(name=name, kind="truth", about=about, column=column) for name, about, column in _TRUTHS},
    "proved": Field(
        name="proved",
        kind="truth",
        about="it has proved what it can do; age(proved) says when",
        column="proved",
        at_ms=PROVED_MS,
    ),
    "health": Field(
        name="health",
        kind="number",
        about="mean ratio of its figures to what its kind can do; 1 = as good as it can be",
        column="health",
        at_ms=REPORTED_MS,
    ),
}


class Names(NamedTuple):
    """What nodes brought that a query may name, beside what every market has."""

    units: Mapping[str, str]  #: of figures
    capabilities: tuple[str, ...]
    executors: tuple[str, ...]


class Fields:
    """Everything a query may name, as the market stands; never changed, replaced when a new figure appears."""

    def __init__(
        self, *, figures: Mapping[str, str], capabilities: Iterable[str] = (), executors: Iterable[str] = ()
    ) -> None:
        """The fixed fields, those of every benchmark, and what nodes brought.

        Args:
            figures: key -> unit, of the figures nodes have.
            capabilities: workload profiles.
            executors: ways to run a job that nodes have.
        """
        reference = installed_reference()
        units: dict[str, str] = {
            **{key: "" for bench in known_benches().values() for keys in bench.keys.values() for key in keys},
            **figures,
            **PROVED_UNITS,
            **{key: figure.unit for key, figure in reference.gpu_figures.items()},
            **{key: figure.unit for key, figure in reference.figures.items()},
        }
        profiles = {*capabilities, *(workload.name for workload in reference.workloads)}
        self._by_name: Mapping[str, Field] = {
            **FIXED,
            **{f"capability.{name}": _capability(name) for name in sorted(profiles)},
            **{f"executor.{name}": _executor(name) for name in sorted({"container", "process", *executors})},
            **{key: _figure(key, unit) for key, unit in sorted(units.items())},
        }

    def __iter__(self) -> Iterator[Field]:
        """Every field, the fixed ones first."""
        return iter(self._by_name.values())

    def __contains__(self, name: object) -> bool:
        """Whether there is such a field."""
        return name in self._by_name

    def __getitem__(self, name: str) -> Field:
        """The field `name`.

        Raises:
            KeyError: there is none.
        """
        return self._by_name[name]

    def nearest(self, name: str) -> str | None:
        """The field whose name is most like `name`; None when none is like it."""
        folded = {known.lower(): known for known in self._by_name}
        lower = name.lower()
        found = difflib.get_close_matches(lower, folded, n=1, cutoff=0.6)
        if not found:  # "bf16" for matmul.bf16
            found = [known for known in folded if known.rpartition(".")[2] == lower][:1]
        return folded[found[0]] if found else None


def _capability(profile: str) -> Field:
    return Field(
        name=f"capability.{profile}",
        kind="number",
        about=f"how good it is at {profile}; reference node = 100",
        column=f"capability.{profile}",
        at_ms=REPORTED_MS,
    )


def _executor(name: str) -> Field:
    return Field(name=f"executor.{name}", kind="truth", about=f"it runs jobs by {name}", column=f"executor.{name}")


def _figure(key: str, unit: str) -> Field:
    how = "proved" if key in PROVED_UNITS else "measured"
    return Field(
        name=key,
        kind="number",
        about=f"{how}, in {unit}" if unit else "measured; no node has it yet",
        column=key,
        dimension=dimension_of(unit) if unit else None,
        at_ms=f"{key}{AT_MS}",
        is_figure=True,
        less_is_better=unit == "s" or key in LESS_IS_BETTER,
    )
