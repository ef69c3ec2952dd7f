"""matmul beside torch and numpy called directly, each in a process of its own; our own kernel beside them too."""

from __future__ import annotations

import sys

from tests.bench import against

KEYS = ("matmul.fp32", "matmul.fp64", "matmul.fp32_numba")
BUDGET_S = 2.0
THEIRS_S = 0.7  # of calls, per library
EXPECTED_RATE = 1e11


def rounds(n: int, keys: tuple[str, ...] = KEYS) -> list[against.Row]:
    """`n` rounds per key, theirs and ours one after the other; FLOP/s, theirs of the better library and size."""
    rows = []
    for key in keys:
        dtype = "float64" if key == "matmul.fp64" else "float32"
        with against.opened("matmul", key) as case:
            sides = sorted({int(variant.label.split()[1]) for variant in case.variants})
            for place in range(n):
                figure = against.ours(case, BUDGET_S)
                theirs = {
                    library: max(_direct(library, dtype, side) for side in sides) for library in ("torch", "numpy")
                }
                better = max(theirs, key=lambda library: theirs[library])
                rows.append(
                    {
                        "key": key,
                        "round": place,
                        "ours": figure.summary.value,
                        "ours_variant": figure.context.get("variant", ""),
                        "theirs": theirs[better],
                        "theirs_variant": better,
                        "ratio": figure.summary.value / theirs[better],
                        **theirs,
                    }
                )
    return rows


def _direct(library: str, dtype: str, side: int) -> float:
    calls = str(max(5, int(THEIRS_S * EXPECTED_RATE / (2 * side**3))))
    command = [sys.executable, "-m", "tests.bench.direct_matmul", library, dtype, str(side), calls]
    return float(against.run_json(command)["median"])


if __name__ == "__main__":
    against.main("matrix product, ours against torch and numpy", rounds)
