"""`gridmark report`: data on stdout, words on stderr, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from qualify import codec, schema
from reports import cli
from tests import builders


def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
    """The command in this process."""
    return CliRunner().invoke(cli.report, [str(one) for one in arguments], input=stdin, prog_name="gridmark report")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A healthy and a faulty report as files."""
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for name in ("healthy", "faulty", "nothing"):
        found[name] = folder / f"{name}.json"
        found[name].write_text(codec.dumps(builders.ALL[name]()))
    return found


def test_show_prints_the_table(files: dict[str, Path]) -> None:
    """From a file, or from stdin as -."""
    from_file = run("show", files["healthy"])
    from_stdin = run("show", "-", stdin=files["healthy"].read_text())

    assert from_file.exit_code == from_stdin.exit_code == 0
    assert from_file.stdout.startswith("QUALIFIED\n")
    assert from_file.stdout == from_stdin.stdout
    assert from_file.stderr == ""


def test_html_writes_a_page_that_show_can_read(files: dict[str, Path], tmp_path: Path) -> None:
    """The page is as good a FILE as the JSON; a byte order mark does not hurt."""
    out = tmp_path / "page.html"

    written = run("html", files["nothing"], "-o", out)

    assert (written.exit_code, written.stdout) == (0, "")
    assert str(out) in written.stderr
    assert run("show", out).stdout == run("show", files["nothing"]).stdout
    assert run("html", files["nothing"], "-o", "-").stdout == out.read_text()
    marked = b"\xef\xbb\xbf" + files["nothing"].read_bytes()
    assert run("show", "-", stdin=marked).stdout == run("show", files["nothing"]).stdout


def test_a_page_replaces_the_old_one_whole_or_not_at_all(files: dict[str, Path], tmp_path: Path) -> None:
    """When the disk is full after 1 KiB the old page stands, and nothing is left beside it."""
    out = tmp_path / "page.html"
    out.write_text("the old page")
    command = [sys.executable, "-m", "reports.cli", "html", str(files["nothing"]), "-o", str(out)]

    def small_files() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    ended = subprocess.run(started(command), preexec_fn=small_files, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 3
    assert ended.stderr == f"gridmark: cannot write {str(out)!r}: File too large; choose another place with -o\n"
    assert out.read_text() == "the old page"
    assert list(tmp_path.iterdir()) == [out]


def started(command: list[str]) -> list[str]:
    """`python -m reports.cli …` as a program that calls the group."""
    return [sys.executable, "-c", "from reports.cli import report; report()", *command[3:]]


def test_compare_tells_by_its_exit_code(files: dict[str, Path]) -> None:
    """0 no worse, 1 worse, 1 nothing comparable; the tolerance is in percent."""
    same = run("compare", files["healthy"], files["healthy"])
    worse = run("compare", files["healthy"], files["faulty"])
    nothing = run("compare", files["healthy"], files["nothing"])

    assert (same.exit_code, worse.exit_code, nothing.exit_code) == (0, 1, 1)
    assert same.stdout.startswith("NO FIGURE IS WORSE\n")
    assert nothing.stdout.startswith("NOTHING COMPARABLE\n")


def test_compare_prints_one_json_document(files: dict[str, Path]) -> None:
    """With --json, and the same exit code."""
    found = run("compare", files["healthy"], "-", "--json", "--tolerance", "20", stdin=files["faulty"].read_text())
    document = json.loads(found.stdout)

    assert found.exit_code == 1
    assert (document["answer"], document["tolerance"]) == ("worse", 0.2)
    outcome = {one["key"]: one["outcome"] for one in document["figures"]}
    assert (outcome["matmul.fp32"], outcome["memory.triad"], outcome["matmul.int8"]) == ("slower", "same", "lost")


def test_schema_prints_the_schema() -> None:
    """The one that reports follow."""
    found = run("schema")

    assert found.exit_code == 0
    assert found.stdout == schema.dumps()
    jsonschema.Draft202012Validator(json.loads(found.stdout)).validate(codec.to_json(builders.healthy()))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1, 2]", "expected a report"),
        (b'{"schema": 99}', "expected schema 1, found the number 99"),
        (b'{"schema": 1, "id": NaN}', "NaN is not a number"),
        (b"<!doctype html><p>hello", "not JSON"),
        (b'<!doctype html><script type="application/json" id="gridmark-report">{}</script>', "$.schema: missing"),
    ],
)
@pytest.mark.parametrize("command", [("show",), ("html", "-o", "-"), ("compare", "-")])
def test_what_is_no_report_is_refused_in_one_sentence(
    tmp_path: Path, command: tuple[str, ...], content: bytes, words: str
) -> None:
    """Exit code 3, the file's name and the problem on stderr, nothing on stdout."""
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)

    found = run(*command, bad, stdin=codec.dumps(builders.nothing()))

    assert found.exit_code == 3
    assert found.stdout == ""
    assert found.stderr.startswith("gridmark: ")
    assert found.stderr.count("\n") == 1
    assert words in found.stderr
    assert "bad.json" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "no-such-file"], 3, "No such file or directory"),
        (["show", "."], 3, "Is a directory"),
        (["show", "a\0b"], 3, "null byte"),
        (["html", "FILE", "-o", "no/such/folder/x.html"], 3, "No such file or directory"),
        (["html", "FILE", "-o", "."], 3, "Is a directory"),
        (["html", "FILE"], 2, "--out"),
        (["show"], 2, "FILE"),
        (["show", "FILE", "more"], 2, "more"),
        (["compare", "FILE"], 2, "SECOND"),
        (["compare", "-", "-"], 2, "only one"),
        (["compare", "FILE", "FILE", "--tolerance", "x"], 2, "tolerance"),
        (["compare", "FILE", "FILE", "--tolerance", "-1"], 2, "tolerance"),
        (["compare", "FILE", "FILE", "--tolerance", "nan"], 2, "tolerance"),
        (["draw", "FILE"], 2, "draw"),
    ],
)
def test_wrong_usage_is_answered_in_words(files: dict[str, Path], arguments: list[str], code: int, words: str) -> None:
    """2 for what was typed wrong, 3 for what could not be done."""
    found = run(*[str(files["nothing"]) if one == "FILE" else one for one in arguments])

    assert found.exit_code == code
    assert words in found.stderr
    assert found.stdout == ""
    assert "Traceback" not in found.output


def test_a_report_of_more_than_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> None:
    """Reading stops one byte beyond the limit."""
    monkeypatch.setattr(cli, "MAX_PAGE_BYTES", 1000)

    found = run("show", files["nothing"])

    assert (found.exit_code, found.stdout) == (3, "")
    assert "is longer than" in found.stderr


@pytest.mark.parametrize("command", ["show", "html", "compare", "schema"])
def test_every_command_has_an_example(command: str) -> None:
    """--help ends well and shows one."""
    found = run(command, "--help")

    assert found.exit_code == 0
    assert f"Example: gridmark report {command}" in found.stdout


def outside(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where stdout can be broken."""
    command = started(["", "", "", *map(str, arguments)])
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, **options)


def test_a_full_disk_behind_stdout_is_said(files: dict[str, Path]) -> None:
    """/dev/full takes nothing: exit code 3 and one sentence."""
    with Path("/dev/full").open("w") as full:
        ended = outside("show", files["healthy"], stdout=full)

    assert ended.returncode == 3
    assert ended.stderr == "gridmark: cannot write to stdout: No space left on device\n"


def test_a_reader_who_leaves_is_no_error_worth_words(files: dict[str, Path]) -> None:
    """As with `| head`: nothing on stderr, and an exit code that claims nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = outside("show", files["healthy"], stdout=writing)
    finally:
        os.close(writing)

    assert (ended.returncode, ended.stderr) == (3, "")


def test_a_closed_stdout_is_said(files: dict[str, Path]) -> None:
    """As with `>&-`: exit code 3 and one sentence, no traceback."""
    ended = outside("show", files["healthy"], preexec_fn=lambda: os.close(1))

    assert ended.returncode == 3
    assert ended.stderr.startswith("gridmark: stdout is closed")
    assert ended.stderr.count("\n") == 1


def test_a_terminal_without_unicode_gets_question_marks(files: dict[str, Path]) -> None:
    """± and · cannot be written in ASCII; the figures can."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    ended = outside("show", files["healthy"], stdout=subprocess.PIPE, env=environment)

    assert ended.returncode == 0
    assert "813 GFLOP/s" in ended.stdout
    assert "?0.17 %" in ended.stdout
