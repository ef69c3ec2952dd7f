"""memlatency beside the same chase in C: the same working set, pages and CPU."""

from __future__ import annotations

from tests.bench import against

KEYS = ("memlatency.dram", "memlatency.dram_4k", "memlatency.l3", "memlatency.l2", "memlatency.l1")
BUDGET_S = 0.8
SAMPLE_S = 4e-3
SAMPLES = 60


def rounds(n: int, keys: tuple[str, ...] = KEYS) -> list[against.Row]:
    """`n` rounds per key, theirs and ours one after the other; seconds per hop."""
    rows = []
    with against.compiled("chase") as chase:
        for key in keys:
            with against.opened("memlatency", key) as case:
                pages = ["4k"] if key.endswith("_4k") else []
                size, cpu = str(case.context["working_set_bytes"]), str(case.context["cpu"])
                for place in range(n):
                    figure = against.ours(case, BUDGET_S)
                    hops = str(max(16, int(SAMPLE_S / figure.summary.value)))
                    found = against.run_json(["taskset", "-c", cpu, str(chase), size, hops, str(SAMPLES), *pages])
                    rows.append(
                        {
                            "key": key,
                            "round": place,
                            "ours": figure.summary.value,
                            "ours_page_bytes": case.context["page_bytes"],
                            "theirs": found["median"],
                            "theirs_page_bytes": found["page_bytes"],
                            "ratio": figure.summary.value / found["median"],
                        }
                    )
    return rows


if __name__ == "__main__":
    against.main("memory latency, ours against a chase in C", rounds)
