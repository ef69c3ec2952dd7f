"""memory.triad and copy beside a STREAM in C: the same sizes and pages, the better kind of store on each side."""

from __future__ import annotations

from tests.bench import against

KEYS = ("memory.triad", "memory.copy")
BUDGET_S = 1.0
REPEATS = 40


def rounds(n: int, keys: tuple[str, ...] = KEYS) -> list[against.Row]:
    """`n` rounds per key, theirs and ours one after the other; bytes per second."""
    rows = []
    with against.compiled("stream") as stream:
        for key in keys:
            name = key.removeprefix("memory.")
            with against.opened("memory", key) as case:
                size, threads = str(case.context["array_bytes"]), str(case.context["threads"])
                for place in range(n):
                    figure = against.ours(case, BUDGET_S)
                    found = against.run_json(
                        [str(stream), size, str(REPEATS), name],
                        env={"OMP_NUM_THREADS": threads, "OMP_PROC_BIND": "true"},
                    )
                    kinds = {kind: rate["median"] for kind, rate in found[name].items()}
                    theirs = max(kinds, key=lambda kind: kinds[kind])
                    rows.append(
                        {
                            "key": key,
                            "round": place,
                            "ours": figure.summary.value,
                            "ours_variant": figure.context.get("variant", "plain"),
                            "theirs": kinds[theirs],
                            "theirs_variant": theirs,
                            "ratio": figure.summary.value / kinds[theirs],
                        }
                    )
    return rows


if __name__ == "__main__":
    against.main("memory bandwidth, ours against STREAM in C", rounds)
