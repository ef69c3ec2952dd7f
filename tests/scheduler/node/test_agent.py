"""An agent against a server that says what the test wants: leases, ends, restarts on either side."""

from __future__ import annotations

from pathlib import Path

from tests.scheduler.node.agents import agent, run
from tests.scheduler.node.fake_server import FakeServer


def test_a_job_runs_and_its_end_is_told_after_its_output(tmp_path: Path) -> None:
    """Log and exit code; then it is forgotten, and nothing of it is left."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, "sh", "-c", "echo hello; exit 3")
            held = await server.until_ended(7)

            assert (held.state, held.exit_code, held.reason) == ("exited", 3, "")
            assert bytes(server.logs[7, "out"]) == b"hello\n"

            await server.until(lambda: not server.syncs[-1].held)
        assert list((served.folder / "attempts").iterdir()) == []
        assert served.said == []

    run(story)
