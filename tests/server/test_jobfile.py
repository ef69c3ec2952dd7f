"""Job documents: what they mean, where they are wrong."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from server import jobfile
from server.jobfile import JobFileError, parse

JOB = """\
name: train
command: [python3, train.py, --fast, no, 1.10, 08]
resources:
  cpus: 2
  memory: 4GiB
env:
  PORT: 8080
  VERSION: 1.10
  DEBUG: no
  OCTAL: 0o17
  TIME: 12:30:00
  ON: true
work: {metric: matmul.bf16, amount: 1e18}
network: false
image: null
deadline: 2026-12-01T00:00:00Z
"""


def test_yaml_is_read_without_surprises() -> None:
    """Text stays text where a text is wanted; elsewhere numbers and truth values are what JSON calls so."""
    found = parse(JOB, "job.yaml").content

    assert found["command"] == ["python3", "train.py", "--fast", "no", "1.10", "08"]
    assert found["env"] == {
        "PORT": "8080",
        "VERSION": "1.10",
        "DEBUG": "no",
        "OCTAL": "0o17",
        "TIME": "12:30:00",
        "ON": "true",
    }
    assert found["resources"] == {"cpus": 2, "memory": "4GiB"}
    assert found["work"] == {"metric": "matmul.bf16", "amount": 1e18}
    assert (found["network"], found["image"], found["deadline"]) == (False, None, "2026-12-01T00:00:00Z")


def test_json_is_read_as_json() -> None:
    """Tabs between, escapes and surrogate pairs inside; its lines are known, too."""
    found = parse('{\n\t"command": ["echo", "\\ud83d\\ude00\\n"],\n\t"retries": 2\n}', "job.json")

    assert found.content == {"command": ["echo", "😀\n"], "retries": 2}
    assert found.where("body.retries") == "job.json:3"


def test_every_value_has_its_line() -> None:
    """Of what is missing, the line of what it is missing in; of the unknown, the file."""
    document = parse(JOB, "job.yaml")

    assert document.where("body.resources.memory") == "job.yaml:5"
    assert document.where("body.command.3") == "job.yaml:2"
    assert document.where("body.resources.gpus") == "job.yaml:4"
    assert document.where("body.where") == "job.yaml"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("command: [a]\ncommand: [b]\n", r"^job:2: command is given twice$"),
        ('{"env": {"A": "1",\n"A": "2"}}', r"^job:2: env\.A is given twice$"),
        ("command: [a\n", r"^job:2: "),
        ("command: [a]\n\tname: x\n", r"^job:2: "),
        ("a: 1\n---\nb: 2\n", r"^job:2: "),
        ("a: !!python/object/apply:os.system [echo]\n", r"^job:1: the tag \S+ means nothing here$"),
        ("a: !secret x\n", r"^job:1: the tag !secret means nothing here$"),
        ("a: &x [1]\n<<: {b: 1}\n", r"^job:2: a field's name must be a plain text$"),
        ("? [a, b]\n: 1\n", r"^job:1: a field's name must be a plain text$"),
        ("work: {amount: 1e999}\n", r"^job:1: a number that is too large$"),
        ("", r"^job is no job document"),
        ("- a\n", r"^job is no job document"),
        ("just words", r"^job is no job document"),
        ("a: \x00", r"^job is no job document"),
        ("[" * 5000, r"^job.*(deep|expected)"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, wrong: str) -> None:
    """One sentence, never a traceback, and nothing of the file is run."""
    with pytest.raises(JobFileError, match=wrong):
        parse(text, "job")


def test_a_few_lines_cannot_become_millions() -> None:
    """Aliases of aliases, and one of itself."""
    doubling = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))

    for text in (doubling, "a: &a [*a]\n"):
        with pytest.raises(JobFileError, match="more than 20000 values, or nested deeper"):
            parse(text, "job")


def test_files_are_read_with_care(tmp_path: Path) -> None:
    """Not there, a folder, no text, too long; a byte order mark does not hurt, and - is stdin."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_bytes(b"#" * (jobfile.MAX_BYTES + 1))
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfname: x\n")

    def read(name: str) -> jobfile.Document:
        return jobfile.read(str(tmp_path / name), io.BytesIO(b"name: y\n"))

    for name, wrong in [
        ("none", "No such file"),
        ("", "Is a directory"),
        ("binary", "not UTF-8"),
        ("long", "longer than 1 MiB"),
        ("a\0b", "null byte"),
    ]:
        with pytest.raises(JobFileError, match=wrong):
            read(name)
    assert read("marked").content == {"name": "x"}
    assert jobfile.read("-", io.BytesIO(b"name: y\n")).content == {"name": "y"}
