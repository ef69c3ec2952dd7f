"""`python -m tests.bench.proof_judge FILE`: judges a forged transcript or bundle as the server's worker would.

Loads no more than the worker does, so that the process's CPU time is that of a worker.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from qualify.proof import bundle, transcript
from qualify.proof.messages import Places
from qualify.proof.verify import verify_bytes


def draw_is_known(asked: Places) -> None:
    """Have this process's verifier believe that these places were drawn; all else it checks as ever."""
    transcript.drawn = lambda *_: asked


def main(path: Path) -> None:
    """Judge it, and say what that took of this process, its start included."""
    data = path.read_bytes()
    document = json.loads(data)
    is_bundle = "entry" in document
    asked = (json.loads(document["transcript"]) if is_bundle else document)["asked"]
    draw_is_known({int(name): tuple((s, u, c) for s, u, c in places) for name, places in asked.items()})
    found = bundle.verify_bundle(data, verify_bytes).verdict if is_bundle else verify_bytes(data)
    if found.outcome != "pass":
        raise SystemExit(f"a true transcript was judged {found.outcome}: {found.why}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "memory_bytes": used.ru_maxrss << 10}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
