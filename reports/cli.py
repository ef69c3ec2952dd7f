"""The verbs of `gridmark report`: they read, call and print; nothing is decided here."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click

from qualify import codec
from qualify.codec import RecordError
from qualify.records import Report
from reports import compare as comparing
from reports import console, page, terminal

SCHEMA_FILE = Path(codec.__file__).with_name("report.schema.json")
#: a page holds its report and the drawings made from it
MAX_PAGE_BYTES = 2 * codec.MAX_BYTES
EXIT: dict[comparing.Answer, int] = {"no_worse": 0, "worse": 1, "nothing_comparable": 1}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def report() -> None:
    """Show, draw and compare reports.

    FILE is what `gridmark qualify --json` printed, or a page that --html wrote; - reads stdin.

    Example: gridmark qualify --json > today.json; gridmark report show today.json
    """


@report.command()
@click.argument("file")
def show(file: str) -> None:
    """Print the report in FILE as a table.

    Exit codes: 0 shown, 2 usage, 3 FILE cannot be read.

    Example: gridmark report show today.json
    """
    found = read(file)
    with _printing():
        terminal.table(found, console.stdout_console())


@report.command()
@click.argument("file")
@click.option("-o", "--out", required=True, metavar="OUT", help="The page to write; - for stdout.")
def html(file: str, out: str) -> None:
    """Write the report in FILE as one self-contained web page.

    Exit codes: 0 written, 2 usage, 3 FILE cannot be read or OUT cannot be written.

    Example: gridmark report html today.json -o today.html
    """
    text = page.page(read(file))
    if out == "-":
        with _printing():
            click.echo(text, nl=False)
        return
    try:
        _write(Path(out), text)
    except OSError as error:
        _fail(f"cannot write {out!r}: {error.strerror or error}; choose another place with -o")
    click.echo(f"wrote {out}", err=True)


@report.command()
@click.argument("first")
@click.argument("second")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 50),
    default=comparing.TOLERANCE * 100,
    show_default=True,
    metavar="PERCENT",
    help="A difference up to this does not matter.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as one JSON document.")
def compare(first: str, second: str, tolerance: float, as_json: bool) -> None:
    """Compare the report in SECOND with the one in FIRST, figure by figure.

    Figures of different method versions, units or statistics are refused, each with the reason.

    Exit codes: 0 no figure is worse, 1 a figure is slower beyond the tolerance or none can be compared, 2 usage,
    3 a file cannot be read.

    Example: gridmark report compare yesterday.json today.json --tolerance 3
    """
    from reports import difference

    if first == second == "-":
        raise click.UsageError("only one of the two reports can come from stdin")
    if math.isnan(tolerance):
        raise click.BadParameter("expected a number of percent, found nan", param_hint="--tolerance")
    found = comparing.compare(read(first), read(second), tolerance=tolerance / 100)
    with _printing():
        if as_json:
            click.echo(json.dumps(codec.to_json(found), allow_nan=False, indent=2))
        else:
            difference.table(found, console.stdout_console())
    sys.exit(EXIT[found.answer])


@report.command()
def schema() -> None:
    """Print the JSON Schema (draft 2020-12) that every report follows.

    Example: gridmark report schema > report.schema.json
    """
    with _printing():
        click.echo(SCHEMA_FILE.read_text(encoding="utf-8"), nl=False)


def read(file: str) -> Report:
    """The report in a JSON file, in a page, or on stdin; ends the process with one sentence where there is none."""
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(MAX_PAGE_BYTES + 1) if sys.stdin else b""
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(MAX_PAGE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        _fail(f"cannot read {name!r}: {getattr(error, 'strerror', None) or error}")
    if len(raw) > MAX_PAGE_BYTES:
        _fail(f"{name!r} is longer than {MAX_PAGE_BYTES >> 20} MiB, so it is no report")
    try:
        text = raw.decode("utf-8-sig")
        inner = page.embedded(text)
        return codec.loads(text if inner is None else inner)
    except UnicodeDecodeError:
        _fail(f"{name!r} holds no report: it is not UTF-8 text")
    except RecordError as error:
        _fail(f"{name!r} holds no report: {error}")


@contextlib.contextmanager
def _printing() -> Iterator[None]:
    """Ends the process where stdout takes nothing: quietly when its reader left, with a sentence otherwise."""
    if sys.stdout is None or sys.stdout.closed:
        _fail("stdout is closed: nothing could be printed; open it or redirect it to a file")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        sys.exit(3)
    except OSError as error:
        _silence()
        _fail(f"cannot write to stdout: {error.strerror or error}")


def _silence() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not stumble over it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(path: Path, text: str) -> None:
    """Write all of it or nothing: a full disk leaves what was there before."""
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        path.write_text(text, encoding="utf-8")
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".gridmark-", delete=False) as part:
        try:
            part.write(text)
            part.flush()
            umask = os.umask(0)
            os.umask(umask)
            Path(part.name).chmod(0o666 & ~umask)
            Path(part.name).replace(path)
        except OSError:
            Path(part.name).unlink(missing_ok=True)
            raise


def _fail(sentence: str) -> NoReturn:
    """End with one sentence on stderr."""
    with contextlib.suppress(OSError):
        click.echo(f"gridmark: {sentence}", err=True)
    sys.exit(3)
