"""The one console command: a lazy group of verbs, each loaded from its room only when it is called."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from qualify.records import Report

#: what for -> verb -> (where it is defined, one line of help); the modules are imported when the verb is called
SECTIONS = {
    "All on this machine": {
        "up": ("server.cli_serve:up", "Measure this machine, list it, and serve the market on it."),
    },
    "Rent": {
        "offers": ("server.cli_offers:offers", "List the nodes that fulfil a query, with their figures."),
        "run": ("server.cli_run:run", "Run a command as a job where it finishes cheapest, and follow it."),
        "ps": ("server.cli_jobs:ps", "List your jobs."),
        "job": ("server.cli_jobs:job", "Show one job in full: attempts, why this node, what happened."),
        "logs": ("server.cli_jobs:logs", "Print what a job wrote."),
        "cancel": ("server.cli_jobs:cancel", "Stop jobs."),
        "get": ("server.cli_get:get", "Fetch what a job left behind."),
        "verify-evidence": ("server.cli_evidence:verify_evidence", "Judge again what a node was judged by."),
    },
    "Supply": {
        "qualify": ("qualify.cli:qualify", "Measure this machine, check it, score it and print the report."),
        "peer": ("qualify.cli:peer", "Be the far end of another machine's network benchmark."),
        "doctor": ("qualify.cli:doctor", "Say what in this installation or machine stands in the way."),
        "report": ("reports.cli:report", "Show, draw and compare reports."),
        "join": ("scheduler.cli:join", "Make this machine a node of a server."),
        "agent": ("scheduler.cli:agent", "Serve as a node; run it as a service."),
    },
    "Operate": {
        "serve": ("server.cli_serve:serve", "Serve the market, without a node of this machine."),
        "nodes": ("server.cli_operator:nodes", "List nodes with their state."),
        "node": ("server.cli_operator:node", "Show one node in full: figures, terms, findings."),
        "drain": ("server.cli_operator:drain", "Give nodes no new work."),
        "retire": ("server.cli_operator:retire", "Take nodes out for good."),
        "due": ("server.cli_operator:due", "List nodes whose figures are stale; have them measured."),
        "events": ("server.cli_records:events", "Print who did what, when and why."),
        "accounts": ("server.cli_records:accounts", "List who may call the server."),
        "account": ("server.cli_records:account", "Let somebody in, or out."),
        "backup": ("server.cli_records:backup", "Copy the server's database while it serves."),
        "simulate": ("server.cli_simulate:simulate", "Replay a recorded workload through a placement policy."),
    },
}
VERBS = {verb: found for section in SECTIONS.values() for verb, found in section.items()}
#: packages of the extras, and the extra that brings each
EXTRA_OF = {
    **dict.fromkeys(
        ("numpy", "numba", "torch", "psutil", "pynvml", "iperf3", "matplotlib", "jinja2", "cryptography"), "node"
    ),
    "docker": "containers",
    **dict.fromkeys(("fastapi", "uvicorn", "sqlite_utils", "lark", "prometheus_client", "starlette"), "server"),
}


@dataclass(frozen=True, slots=True)
class Presenter:
    """How a report is shown; handed to the verbs, so that qualify need not know reports."""

    def table(self, report: Report) -> None:
        """Print `report` on stdout, for people."""
        from reports import console, terminal

        terminal.table(report, console.stdout_console())

    def prepare_page(self) -> None:
        """Raise ModuleNotFoundError where a page cannot be drawn."""
        for package in ("jinja2", "matplotlib"):
            importlib.import_module(package)

    def page(self, report: Report) -> str:
        """One self-contained HTML page."""
        from reports import page

        return page.page(report)


class LazyGroup(click.Group):
    """Knows its verbs by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order a newcomer meets them."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's room; None for an unknown verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a mistyped verb."""
        import difflib

        if args and args[0] not in VERBS:
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(VERBS)}"
            ctx.fail(f"unknown command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs without importing any of them."""
        del ctx
        for section, verbs in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(verb, text) for verb, (_, text) in verbs.items()])


def _version(ctx: click.Context, param: click.Parameter, value: object) -> None:
    del param
    if value and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("gridmark")
        except PackageNotFoundError:  # a bare checkout has none
            found = "0+unknown"
        click.echo(f"gridmark {found}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Measure GPU nodes, list them by what they can do, and run jobs where they finish cheapest.

    stdout carries data (--json: one JSON document), stderr carries words. Exit codes: 0 good, 1 the answer is no,
    2 usage, 3 could not be done.

    Example: gridmark up; in another terminal: gridmark run -- echo hello
    """
    ctx.obj = Presenter()


def main() -> None:
    """The console script: every way to fail ends in one sentence and the right exit code."""
    try:
        from qualify.doctor import ShadowedError, ensure_owned
    except ImportError:
        _fail("the package qualify is another distribution's; install gridmark into an environment of its own")
    try:
        ensure_owned()
        cli(prog_name="gridmark")
    except ShadowedError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(_missing(error))


def _missing(error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0]
    if name in EXTRA_OF:
        return f"needs the package {name}, which is not installed; pip install 'gridmark[{EXTRA_OF[name]}]'"
    return f"{error}; the installation is incomplete, install gridmark again into an environment of its own"


def _fail(sentence: str) -> NoReturn:
    click.echo(f"gridmark: {sentence}", err=True)
    sys.exit(3)


if __name__ == "__main__":
    main()
