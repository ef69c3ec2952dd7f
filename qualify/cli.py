"""The supplier's verbs: qualify, peer, doctor. They parse, call and print; nothing is decided here."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

import click

from kernels.spec import Profile
from qualify import codec
from qualify.options import DeviceName, Duration
from qualify.progress import Progress
from qualify.records import Report, Verdict
from qualify.session import Options, Session, SessionError

EXIT: dict[Verdict, int] = {"qualified": 0, "not_qualified": 1, "unknown": 3}


class Presenter(Protocol):
    """How a report is shown; the front door brings one, because this room knows no pages."""

    def table(self, report: Report) -> None:
        """Print `report` on stdout, for people."""
        ...

    def prepare_page(self) -> None:
        """Raise ModuleNotFoundError now, not after a minute, where a page cannot be drawn."""
        ...

    def page(self, report: Report) -> str:
        """One self-contained HTML page."""
        ...


def fail(sentence: str, code: int = 3) -> NoReturn:
    """End with one sentence on stderr."""
    with contextlib.suppress(OSError):
        click.echo(f"gridmark: {sentence}", err=True)
    sys.exit(code)


@click.command()
@click.option("--profile", type=click.Choice(["quick", "standard", "deep"]), default="quick", show_default=True)
@click.option(
    "--device",
    type=DeviceName(),
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N,…]",
    help="cuda:2 is that GPU alone, cuda:0,2 those two, by CUDA's numbers.",
)
@click.option(
    "--only", multiple=True, metavar="KEY", help="A figure (memory.triad) or a benchmark (memory); repeatable."
)
@click.option(
    "--budget", type=Duration(), help="Wall time for everything: 45, 90s, 5m. [45 s, 5 min, 20 min by profile]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write the report as a web page.")
@click.option("--if-older-than", type=Duration(), help="Show the kept report instead while it is younger: 24h.")
@click.option("--claim", "claims", multiple=True, metavar="WORD=VALUE", help="What you offer: cores=8, memory=64GiB, …")
@click.option("--peer", metavar="HOST:PORT", help="The network's far end: `gridmark peer` or an iperf3 server.")
@click.option("--workdir", type=click.Path(path_type=Path), default=".", help="The disk to measure. [this folder]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Of generated data.")
@click.option("--keep/--no-keep", default=True, help="Whether to keep the report for later comparison. [keep]")
@click.pass_obj
def qualify(
    presenter: Presenter,
    profile: Profile,
    device: str,
    only: tuple[str, ...],
    budget: float | None,
    as_json: bool,
    html: Path | None,
    if_older_than: float | None,
    claims: tuple[str, ...],
    peer: str | None,
    workdir: Path,
    seed: int,
    keep: bool,
) -> None:
    """Measure this machine, check it, score it and print the report.

    Exit codes: 0 qualified, 1 not qualified, 2 usage, 3 could not tell.

    Example: gridmark qualify --claim memory=64GiB --html report.html
    """
    options = Options(
        profile=profile, device=device, only=only, budget_s=budget, claims=claims, peer=peer, workdir=workdir, seed=seed
    )
    session = Session(options=options, environment=os.environ, version=own_version(), report_id=secrets.token_hex(8))
    _check_outputs(html)
    if html is not None:
        presenter.prepare_page()
    report = _young(session, if_older_than) if if_older_than is not None else None
    if report is None:
        report = _measured(session)
        if keep:
            _keep(session, report)
    _deliver(report, presenter, as_json=as_json, html=html)
    sys.exit(EXIT[report.verdict])


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=5202, show_default=True, help="0 takes a free one.")
@click.option("--iperf3-port", type=click.IntRange(1, 65535), help="Where an iperf3 server listens as well. [port + 1]")
def peer(host: str, port: int, iperf3_port: int | None) -> None:
    """Be the far end of another machine's network benchmark, until Ctrl-C.

    It listens on loopback unless told otherwise; anybody who can reach it can load this link.

    Example: gridmark peer --host 0.0.0.0 --port 5202
    """
    from kernels.peer import serve

    def ready(bound: int, beside: int | None) -> None:
        click.echo(f"listening on {host}:{bound}" + (f", iperf3 on {beside}" if beside else ""), err=True)

    with _stopped_by_signals() as stop:
        try:
            serve(
                host, port, stop=stop, iperf3_port=iperf3_port or (port + 1 if 0 < port < 65535 else None), ready=ready
            )
        except OSError as error:
            fail(f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON document.")
def doctor(as_json: bool) -> None:
    """Say what in this installation or machine stands in the way, and the cure.

    Exit codes: 0 nothing stands in the way, 1 something does.

    Example: gridmark doctor
    """
    import json
    from dataclasses import asdict

    from qualify.doctor import checks

    found = checks()
    if as_json:
        click.echo(json.dumps([asdict(check) for check in found], indent=2))
    else:
        for check in found:
            mark = {True: "ok", False: "BAD", None: "-"}[check.ok]
            click.echo(f"{mark:>4}  {check.name}: {check.found}")
            if check.remedy and not check.ok:
                click.echo(f"      {check.remedy}")
    sys.exit(1 if any(check.ok is False for check in found) else 0)


def own_version() -> str:
    """The version of the installed distribution; a bare checkout has none."""
    try:
        return version("gridmark")
    except PackageNotFoundError:
        return "0+unknown"


def _check_outputs(html: Path | None) -> None:
    """Refuse before a minute is spent what could not be written after it."""
    if sys.stdout is None or sys.stdout.closed:
        fail("stdout is closed: nothing could be printed; open it or redirect it to a file")
    if html is None:
        return
    folder = html.resolve().parent
    if html.is_dir() or not folder.is_dir():
        fail(f"--html wants a file in a folder that exists, found {str(html)!r}")
    try:
        if html.exists():
            html.open("a").close()
        else:
            html.touch()
            html.unlink()
    except OSError as error:
        fail(f"--html cannot be written to {str(html)!r}: {error.strerror}; choose another place")


def _young(session: Session, max_age_s: float) -> Report | None:
    now = time.time()
    report = session.young_report(now, max_age_s=max_age_s)
    if report is not None:
        hours = (now - report.started_unix_s) / 3600
        click.echo(f"kept report {report.id} is {hours:.1f} h old; nothing was measured", err=True)
    return report


def _measured(session: Session) -> Report:
    try:
        with _interruptible(), Progress(sys.stderr) as progress:
            return session.qualify(now_unix_s=time.time(), on_event=progress.show)
    except SessionError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted before anything was measured")


def _keep(session: Session, report: Report) -> None:
    try:
        path = session.keep(report)
    except OSError as error:
        click.echo(f"gridmark: the report could not be kept: {error.strerror} ({error.filename})", err=True)
    else:
        click.echo(f"kept as {path}", err=True)


def _deliver(report: Report, presenter: Presenter, *, as_json: bool, html: Path | None) -> None:
    """Write the page, then stdout; a report that does not arrive is a failure, whatever its verdict."""
    try:
        if html is not None:
            _replace(html, presenter.page(report))
            click.echo(f"page written to {html}", err=True)
    except OSError as error:
        fail(f"the page could not be written to {str(html)!r}: {error.strerror}")
    try:
        if as_json:
            click.echo(codec.dumps(report, indent=1))
        else:
            presenter.table(report)
        sys.stdout.flush()
    except OSError as error:
        # the interpreter flushes stdout once more at its end and would complain a second time
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(f"the report could not be printed: {error.strerror}")


def _replace(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old page or the new one."""
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        path.write_text(text)
        return
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(text)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does: with a partial report and no child left."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)  # once is enough: the report is being written
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
