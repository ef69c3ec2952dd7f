"""The operator's and the supplier's verbs for nodes: nodes, node, drain, retire, due."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import click

from qualify.options import Duration
from server.cli_shared import NUMBER_MAX, connect, guarded, pages, print_json, printing, say, worded
from server.client import Client, Json, ProblemError

NODE = click.IntRange(1, NUMBER_MAX)


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Numbers only, one a line.")
@click.option("--json", "as_json", is_flag=True, help="Print the nodes as one JSON document.")
@guarded
def nodes(quiet: bool, as_json: bool) -> None:
    """List nodes with their state and why: an operator's are all, a supplier's its own.

    Example: gridmark nodes
    """
    with connect("operator") as client:
        found = list(pages(client, "/v1/nodes", None))
        alarms = _alarms(client)
    for one in alarms:
        say(f"ALARM: {one['text']} (for {_since(one['since_ms'])})")
    if as_json:
        print_json(found)
        return
    with printing():
        if quiet:
            for one in found:
                click.echo(one["id"])
        else:
            _table(found)


@click.command()
@click.argument("node", type=NODE)
@click.option("--history", metavar="METRIC", help="The course of a figure instead: memory.triad.")
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON document.")
@guarded
def node(node: int, history: str | None, as_json: bool) -> None:
    """Show one node in full: its figures with their intervals, its terms, what was found amiss.

    Example: gridmark node 3
    """
    with connect("operator") as client:
        if history is not None:
            found = client.get(f"/v1/nodes/{node}/history", metric=history)
        else:
            found = client.get(f"/v1/nodes/{node}")
        if as_json:
            print_json(found)
            return
        with printing():
            if history is not None:
                _course(found)
            else:
                _in_full(found, _newest_report(client, node))


@click.command()
@click.argument("nodes", type=NODE, nargs=-1, required=True, metavar="NODE...")
@click.option("--undo", is_flag=True, help="Give them work again.")
@guarded
def drain(nodes: tuple[int, ...], undo: bool) -> None:
    """Give nodes no new work; what runs there runs on.

    Exit codes: 0 done, 1 one of them cannot be.

    Example: gridmark drain 3
    """
    deed = "undrain" if undo else "drain"
    _each(nodes, lambda client, one: client.post(f"/v1/nodes/{one}/{deed}", again=True))


@click.command()
@click.argument("nodes", type=NODE, nargs=-1, required=True, metavar="NODE...")
@click.option("--force", is_flag=True, help="Those that work, too; their jobs go elsewhere.")
@guarded
def retire(nodes: tuple[int, ...], force: bool) -> None:
    """Take nodes out for good.

    Exit codes: 0 done, 1 one of them cannot be.

    Example: gridmark retire 3
    """
    query = "?force=1" if force else ""
    _each(nodes, lambda client, one: client.post(f"/v1/nodes/{one}/retire{query}"))


@click.command()
@click.option("--within", type=Duration(), default="0", metavar="TIME", help="Those that will be due by then, too: 6h.")
@click.option("--run", "ask", is_flag=True, help="Ask each to measure itself as soon as it is idle.")
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON document.")
@guarded
def due(within: float, ask: bool, as_json: bool) -> None:
    """List the nodes whose figures are stale, the longest overdue first; made for cron.

    Exit codes: 0 none is left to be asked, 1 some are due (without --run) or could not be asked.

    Example: gridmark due --run
    """
    refused = False
    with connect("operator") as client:
        found = client.get("/v1/due", within_ms=round(within * 1000))["items"]
        for one in found if ask else ():
            try:
                client.post(f"/v1/nodes/{one['id']}/qualify", again=True)
            except ProblemError as error:
                if error.status not in (404, 409):
                    raise
                say(f"node {one['id']}: {worded(error)}")
                refused = True
    if as_json:
        print_json(found)
    else:
        with printing():
            _due_table(found)
    sys.exit(1 if refused or (found and not ask) else 0)


def _each(nodes: Sequence[int], deed: Callable[[Client, int], Json]) -> None:
    """Do something with each node; print what state each is in."""
    refused = False
    with connect("operator") as client:
        for one in nodes:
            try:
                found = deed(client, one)
            except ProblemError as error:
                if error.status not in (404, 409):
                    raise
                say(f"node {one}: {worded(error)}")
                refused = True
            else:
                with printing():
                    click.echo(f"{one} {found['state']}")
    sys.exit(1 if refused else 0)


def _alarms(client: Client) -> list[Json]:
    """What an operator has to look at now; a supplier is told of none, nor does an older server know of any."""
    try:
        found: list[Json] = client.get("/v1/alarms")["items"]
    except ProblemError as error:
        if error.status not in (401, 403, 404):
            raise
        return []
    return found


def _since(since_ms: int) -> str:
    from server import cli_words as words

    return words.age(since_ms, round(time.time() * 1000))


def _newest_report(client: Client, node: int) -> Json | None:
    """The newest report's verdict and remarks, where they are ours to see."""
    try:
        found: list[Json] = client.get(f"/v1/nodes/{node}/reports", limit=1)["items"]
    except ProblemError as error:
        if error.status not in (401, 403, 404):
            raise
        return None
    return found[0] if found else None


def _table(found: Sequence[Json]) -> None:
    from server import cli_words as words
    from server.cli_tables import table

    now_ms = round(time.time() * 1000)
    rows = [
        (
            str(one["id"]),
            one["name"],
            words.toned(one["state"]),
            one["model"],
            words.capacity(one["capacity"]),
            f"{words.money(one['price_uh'])}/h",
            words.age(one["reported_ms"], now_ms),
            words.proof(one["proof"], now_ms),
            str(len(one["owners"]["attempts"])) if one["owners"] else "",
            one["why"] or one["proof"]["why"],
        )
        for one in found
    ]
    titles = ("NODE", "NAME", "STATE", "MODEL", "HAS", "PRICE", "MEASURED", "PROVED", "JOBS", "WHY")
    table(titles, rows, right=("NODE", "PRICE", "MEASURED", "JOBS"), stretch="WHY")


def _in_full(found: Json, report: Json | None) -> None:
    from reports import units
    from server import cli_words as words
    from server.cli_tables import facts, heading, table

    now_ms = round(time.time() * 1000)
    pairs = [
        ("node", f"{found['id']} {found['name']}"),
        ("state", words.toned(found["state"])),
        ("why", found["why"]),
        ("model", found["model"]),
        ("has", words.capacity(found["capacity"])),
        ("price", f"{words.money(found['price_uh'])}/h"),
        ("region", found["region"]),
        ("runs", ", ".join(found["executors"])),
        ("health", units.percent(found["health"])),
        ("capability", words.inline(found["capability"])),
        ("measured", f"{words.age(found['reported_ms'], now_ms)} ago" if found["reported_ms"] else "never"),
        ("proved", words.proof(found["proof"], now_ms)),
        ("", _outcome(found["proof"])),
        ("locality", f"{found['proof']['locality']}: a proof says what was computed how fast, not where"),
        ("enrolled", words.moment(found["enrolled_ms"])),
    ]
    facts([(name, cell) for name, cell in pairs if cell])
    if found["figures"]:
        heading("Figures")
        rows = [
            (
                key,
                units.figure(one["value"], one["unit"]),
                words.interval(one),
                str(one["n"]),
                words.age(one["at_ms"], now_ms),
            )
            for key, one in sorted(found["figures"].items())
        ]
        table(("FIGURE", "VALUE", "95 %", "N", "AGE"), rows, right=("VALUE", "95 %", "N", "AGE"))
    _claims(found["proof"])
    if report is not None and report["remarks"]:
        heading("Found by its newest report")
        for one in report["remarks"]:
            facts([(one["severity"], one["text"]), ("", one["remedy"])])


def _outcome(proof: Json) -> str:
    """What came of its newest challenge."""
    if proof["outcome"] is None:
        return ""
    outcome = proof["outcome"].replace("_", " ")
    return f"newest challenge: {outcome}{': ' if proof['why'] else ''}{proof['why']}"


def _claims(proof: Json) -> None:
    """What its report claims beyond what is proved, and is listed with no more than that."""
    from reports import units
    from server.cli_tables import heading, table

    rows = [(key, units.figure(one["value"], one["unit"])) for key, one in sorted(proof["claims"].items())]
    if proof["claimed_vram_bytes"] is not None:
        rows.append(("vram", units.size(proof["claimed_vram_bytes"])))
    if rows:
        heading("Claimed, and cut to what is proved")
        table(("FIGURE", "CLAIM"), rows, right=("CLAIM",))


def _course(found: Json) -> None:
    from reports import units
    from server import cli_words as words
    from server.cli_tables import table

    rows = [
        (words.moment(one["at_ms"]), units.figure(one["value"], one["unit"]), words.interval(one), str(one["n"]))
        for one in found["items"]
    ]
    table(("WHEN", "VALUE", "95 %", "N"), rows, right=("VALUE", "95 %", "N"))


def _due_table(found: Sequence[Json]) -> None:
    from server import cli_words as words
    from server.cli_tables import table

    now_ms = round(time.time() * 1000)
    rows = [
        (
            str(one["id"]),
            one["name"],
            words.toned(one["state"]),
            words.age(one["reported_ms"], now_ms),
            words.until(one["due_ms"], now_ms),
        )
        for one in found
    ]
    table(("NODE", "NAME", "STATE", "MEASURED", "DUE"), rows, right=("NODE", "MEASURED"))
