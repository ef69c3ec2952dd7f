"""Random queries: any tree the grammar can write, and trees that also pass the check."""

from __future__ import annotations

from hypothesis import strategies as st

from scheduler.market.syntax import (
    Among,
    Arithmetic,
    Call,
    Compare,
    Expression,
    Name,
    Negative,
    Not,
    Quantity,
    Text,
    Truth,
    conjoin,
    disjoin,
)

_DIGITS = st.sampled_from(["0", "1", "2.50", "600", ".5", "1e3", "0.001", "12."])
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_NAMES = ("count", "price", "gpu", "matmul.bf16", "capability.cpu-inference", "peerlink.0-1", "android", "in_use")

_leaves = st.one_of(
    st.builds(Quantity, _DIGITS, st.sampled_from(["", "GB", "$/h", "%", "TFLOP/s", "µs"])),
    st.builds(Text, st.text(max_size=8).filter(lambda text: "\n" not in text)),
    st.builds(Truth, st.booleans()),
    st.builds(Name, st.sampled_from(_NAMES)),
)


def _values() -> st.SearchStrategy[Expression]:
    quantities = st.builds(Quantity, _DIGITS, st.sampled_from(["", "GB"]))
    return st.one_of(quantities, st.builds(Negative, quantities), st.builds(Text, st.sampled_from(["eu", 'a "b" \\'])))


def _nested(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.builds(Call, st.sampled_from(["p05", "age", "nonsense"]), inner),
        st.builds(Negative, inner),
        st.builds(Arithmetic, st.sampled_from(["+", "-", "*", "/"]), inner, inner),
        st.builds(Compare, st.sampled_from([*_COMPARISONS, "~"]), inner, inner),
        st.builds(Among, inner, st.lists(_values(), min_size=1, max_size=3).map(tuple)),
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(conjoin),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(disjoin),
    )


#: anything that can be written
trees: st.SearchStrategy[Expression] = st.recursive(_leaves, _nested, max_leaves=12)


def _quantities(*written: tuple[str, str]) -> st.SearchStrategy[Expression]:
    return st.sampled_from(written).map(lambda pair: Quantity(*pair))


def _named(*names: str) -> st.SearchStrategy[Expression]:
    return st.sampled_from(names).map(Name)


def _called(functions: tuple[str, ...], *names: str) -> st.SearchStrategy[Expression]:
    return st.builds(Call, st.sampled_from(functions), _named(*names))


def _reckoned(leaves: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    """Numbers of one dimension: sums, and products with pure numbers."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Negative, inner),
            st.builds(Arithmetic, st.sampled_from(["+", "-"]), inner, inner),
            st.builds(Arithmetic, st.sampled_from(["*", "/"]), inner, _pure_leaves),
        ),
        max_leaves=4,
    )


def _some(side: st.SearchStrategy[Expression]) -> st.SearchStrategy[tuple[Expression, ...]]:
    """One or two values as they may stand in brackets."""
    written = side.filter(lambda node: isinstance(node, Quantity))
    return st.lists(written, min_size=1, max_size=2).map(tuple)


_ENDS = ("p05", "p95")
_pure_leaves = st.one_of(
    _quantities(("0", ""), ("1", ""), ("8", ""), ("50", "%"), ("1.5", "")),
    _named("count", "free", "cpus", "health", "capability.general", "network.udp_loss"),
    _called(_ENDS, "network.udp_loss"),
)
_numbers = (
    _reckoned(_pure_leaves),
    _reckoned(st.one_of(_quantities(("80", "GB"), ("16", "GiB"), ("0", "B")), _named("vram", "memory", "disk_free"))),
    _reckoned(st.one_of(_quantities(("2.50", "$/h"), ("20", "$/h")), _named("price"))),
    _reckoned(
        st.one_of(
            _quantities(("600", "TFLOP/s"), ("540", "TFLOP/s")), _named("matmul.bf16"), _called(_ENDS, "matmul.bf16")
        )
    ),
    _reckoned(
        st.one_of(
            _quantities(("1", "h"), ("110", "ns"), ("90", "ns"), ("2", "d")),
            _named("memlatency.dram"),
            _called(_ENDS, "memlatency.dram"),
            _called(("age",), "matmul.bf16", "memlatency.dram", "health"),
        )
    ),
)
_texts = st.sampled_from(["H100 SXM", "h100 sxm", "100", "eu", "EU", "ready", "quarantined", "", "ß"]).map(Text)
_text_names = _named("gpu", "model", "region", "state", "kind", "name")
_same_kind = st.one_of(
    *(st.builds(Compare, st.sampled_from(_COMPARISONS), side, side) for side in _numbers),
    *(
        st.builds(
            Among, side, st.lists(side.filter(lambda n: isinstance(n, Quantity)), min_size=1, max_size=2).map(tuple)
        )
        for side in _numbers
    ),
    st.builds(Compare, st.sampled_from(["=", "!=", "~"]), _text_names, _texts),
    st.builds(Compare, st.sampled_from(["=", "!="]), _texts, _text_names),
    st.builds(Among, _text_names, st.lists(_texts, min_size=1, max_size=3).map(tuple)),
    _named("fresh", "online", "shares_gpus", "executor.container", "draining"),
    st.booleans().map(Truth),
)

#: conditions that make sense of the fields of tests/scheduler/nodes.py
conditions: st.SearchStrategy[Expression] = st.recursive(
    _same_kind,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Compare, st.sampled_from(["=", "!="]), inner, inner),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(conjoin),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(disjoin),
    ),
    max_leaves=5,
)
