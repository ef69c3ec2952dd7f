"""A job's way through the server, from its document to its artifacts, with an agent that only speaks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.server.served import Served, ready_agent


def test_a_job_runs_and_leaves_its_output(tmp_path: Path) -> None:
    """Submitted, placed, run, followed, its artifact fetched."""
    with Served(tmp_path) as served:
        agent = ready_agent(served)
        job = served.submit(command=["sh", "-c", "echo hello"], artifacts=["*.txt"])["id"]
        wish = agent.assigned()
        token = wish["token"]
        follower = served.follow(job)
        agent.sync({"token": token, "state": "running"})

        assert wish["desired"] in ("prepare", "start")
        assert wish["assignment"]["spec"]["command"] == ["sh", "-c", "echo hello"]
        assert agent.print(token, b"hello\n").json() == {"size_bytes": 6, "full": False}
        assert follower.line() == {"stream": "out", "offset": 0, "attempt": 1, "data": "hello\n"}

        left = agent.leave(token, b"kept").json()
        artifact = {"path": "a.txt", **left}
        agent.sync({"token": token, "state": "exited", "exit_code": 0, "artifacts": [artifact]})

        assert follower.line() == {"end": {"state": "done", "exit_code": 0, "reason": ""}}
        assert follower.rest() == []
        shown = served.ask("GET", f"/v1/jobs/{job}", "renter").json()
        assert (shown["state"], shown["exit_code"], len(shown["tries"])) == ("done", 0, 1)
        manifest = served.ask("GET", f"/v1/jobs/{job}/artifacts", "renter").json()
        assert manifest == {"job": job, "complete": True, "artifacts": [artifact]}
        fetched = served.ask("GET", f"/v1/jobs/{job}/artifacts/a.txt", "renter")
        assert (fetched.content, fetched.headers["etag"]) == (b"kept", f'"{hashlib.sha256(b"kept").hexdigest()}"')
        assert served.ask("GET", f"/v1/jobs/{job}/logs", "renter").content == b"hello\n"
