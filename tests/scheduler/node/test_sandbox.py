"""The walls around a command of the node, as an argument list and for real."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from qualify.files import Files
from scheduler.node import gpus, sandbox
from scheduler.node.execution import Machine, Order, environment
from scheduler.node.gpus import Gpu
from scheduler.node.machine import probe
from scheduler.records import JobSpec
from tests.machines import lay
from tests.scheduler.node.agents import agent, run
from tests.scheduler.node.fake_server import FakeServer

MACHINE = Machine(
    tag="n",
    data=Path("/srv/gridmark"),
    root=True,
    bubblewrap="/usr/bin/bwrap",
    setpriv="/usr/bin/setpriv",
    gpus=(Gpu(uuid="GPU-a", device="/dev/nvidia1"), Gpu(uuid="GPU-b", device="/dev/nvidia0")),
)


def order(*command: str, gpus: tuple[int, ...] = (), **spec: object) -> Order:
    """One attempt."""
    made = replace(JobSpec(name="j", command=command), **spec)  # type: ignore[arg-type]
    return Order(token=7, job=1, n=2, spec=made, gpus=gpus, folder=Path("/srv/gridmark/7"), secrets={"S": "it's"})


def test_a_job_s_environment_is_no_part_of_the_arguments() -> None:
    """Nor of bubblewrap's own: a loader would obey LD_PRELOAD before any right was given up."""
    words = sandbox.arguments(MACHINE, order("cmd", "--x", env={"LD_PRELOAD": "evil.so"}))

    assert not any("evil.so" in word or "it's" in word for word in words)
    assert words[-5:] == ["/bin/sh", "-s", "--", "cmd", "--x"]


def test_rights_are_given_up_before_the_job_s_environment_is_set() -> None:
    """A root agent's job is a user of its own, with no group of another."""
    words = sandbox.arguments(MACHINE, order("cmd"))
    user = str(0x7000_0000 + 7)

    place = words.index("/usr/bin/setpriv")
    assert words[place : place + 8] == [
        "/usr/bin/setpriv",
        "--reuid",
        user,
        "--regid",
        user,
        "--clear-groups",
        "--inh-caps=-all",
        "--",
    ]
    assert words[place + 8] == "/bin/sh"
    assert "/usr/bin/setpriv" not in sandbox.arguments(replace(MACHINE, root=False), order("cmd"))


def test_only_its_own_gpus_are_there() -> None:
    """By the driver's device numbers, which need not be the GPUs'."""
    words = sandbox.arguments(MACHINE, order("cmd", gpus=(0,)))

    assert "/dev/nvidia1" in words
    assert "/dev/nvidia0" not in words
    assert "/dev/nvidiactl" in words
    assert "/dev/nvidiactl" not in sandbox.arguments(MACHINE, order("cmd"))


def test_gpus_are_named_as_their_driver_names_them(tmp_path: Path) -> None:
    """In the order of their addresses."""
    lay(
        tmp_path,
        {
            "proc/driver/nvidia/gpus/0000:41:00.0/information": "Model: H\nGPU UUID:\tGPU-b\nDevice Minor:\t0\n",
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: H\nGPU UUID:\tGPU-a\nDevice Minor:\t1\n",
            "proc/driver/nvidia/gpus/0000:81:00.0/information": "broken\n",
        },
    )

    assert gpus.find(Files(tmp_path)) == MACHINE.gpus
    assert gpus.find(Files(tmp_path / "none")) == ()


def test_the_environment_has_what_every_job_gets() -> None:
    """Its own values win, but not over who it is."""
    given = environment(
        MACHINE,
        order("cmd", gpus=(1,), env={"LANG": "C", "GRIDMARK_FENCING_TOKEN": "99"}),
        home="/work",
        temporary="/tmp",
    )

    assert given == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C",
        "HOME": "/work",
        "USER": "job",
        "LOGNAME": "job",
        "TMPDIR": "/tmp",
        "CUDA_VISIBLE_DEVICES": "GPU-b",
        "S": "it's",
        "GRIDMARK_JOB": "1",
        "GRIDMARK_ATTEMPT": "2",
        "GRIDMARK_FENCING_TOKEN": "7",
        "GRIDMARK_NODE": "n",
    }


@pytest.mark.parametrize("value", ["it's", "two\nlines", "$HOME `id` \\", "", "ümlaut"])
def test_a_value_arrives_as_it_is(value: str) -> None:
    """Through a shell that reads it as a word."""
    text = sandbox.script({"VALUE": value})

    done = subprocess.run(
        ["/bin/sh", "-s", "--", "sh", "-c", 'printf %s "$VALUE"; cat'], input=text, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, value, "")


@pytest.mark.real
def test_a_job_sees_nothing_of_the_node_s_owner(tmp_path: Path) -> None:
    """Not the node's key, not the home folders, no other process; it writes to its own folder only."""
    found = probe({"PATH": os.defpath}, tag="n", data=tmp_path)
    if found.bubblewrap is None:
        pytest.skip("bubblewrap is missing, or refused by this kernel")
    script = (
        f"ls {tmp_path}; ls /root /home; ls -d /proc/[0-9]* | wc -l;"
        "touch /etc/x; touch here /tmp/there && echo wrote; id -u; cat /etc/shadow"
    )

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            server.want(7, "sh", "-c", script)
            await server.until_ended(7)
        out = bytes(server.logs[7, "out"]).decode().split()
        err = bytes(server.logs[7, "err"]).decode()

        assert "key" not in out
        assert int(out[0]) <= 5  # bubblewrap, the shell and what it runs
        assert out[1] == "wrote"
        assert (int(out[2]) == os.getuid()) is (os.getuid() != 0)
        assert err.count("No such file or directory") == 3
        assert "/etc/x" in err
        assert "/etc/shadow" in err

    run(story)


@pytest.mark.real
def test_a_job_that_wants_no_network_has_none(tmp_path: Path) -> None:
    """Not even a way to itself from outside; without bubblewrap the node says that it cannot."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            server.want(7, "sh", "-c", "ls /sys/class/net; cat /proc/net/dev | wc -l", network=False)
            held = await server.until_ended(7)
        if held.state == "prepare_failed":
            assert held.reason == "the job wants no network, which takes bubblewrap to cut, and this node has none"
            pytest.skip(held.reason)
        assert bytes(server.logs[7, "out"]).split()[-1] == b"3"  # two lines of headings and lo

    run(story)
