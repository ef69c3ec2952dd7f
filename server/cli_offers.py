"""`gridmark offers`: which nodes there are to rent, how good they are, and what stands between a query and a match."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from server.cli_shared import connect, fail, guarded, print_json, printing, say
from server.client import Client, Json, ProblemError

#: figures shown where neither the query nor the order names any, as far as an offer has them
FIGURES = ("matmul.bf16", "matmul.fp32", "memory.triad")
MOST_FIGURES = 4
PAGE = 200


@click.command()
@click.argument("query", default="")
@click.option("--sort", metavar="FIELD", help="Lowest first; behind a - highest first: -matmul.bf16. [price]")
@click.option("-n", "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@click.option("--explain", is_flag=True, help="Say what each condition rejects, and the smallest change that helps.")
@click.option("--fields", is_flag=True, help="List what QUERY and --sort may name instead.")
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON document.")
@guarded
def offers(query: str, sort: str | None, limit: int, explain: bool, fields: bool, as_json: bool) -> None:
    """List the nodes that fulfil QUERY, each figure with its 95 % interval and its age.

    QUERY combines fields, units, `and or not ( )`, arithmetic, p05(FIGURE) and age(FIGURE). Nodes that take no jobs,
    for their state or because their figures are stale, are left out unless it names `state`, `online`, `draining` or
    `fresh`: fresh = false.

    Exit codes: 0 some match, 1 none does, 2 QUERY is not understood, 3 the server could not be reached.

    Example: gridmark offers 'memory.triad >= 20 GB/s and price < 0.50 $/h' --sort -matmul.fp32
    """
    with connect() as client:
        if fields:
            _print_fields(client, as_json=as_json)
            return
        try:
            page = _page(client, query, sort, limit, explain=explain)
        except ProblemError as error:
            if error.status != 422:
                raise
            fail(f"{error}{_place(client, error, query, sort)}", 2)
    if as_json:
        print_json(page)
    else:
        with printing():
            if page["items"]:
                _table(page, proofs="proved" in f"{query} {sort or ''}")
        _say_more(page, query, explain=explain)
    sys.exit(0 if page["count"] else 1)


def _place(client: Client, error: ProblemError, query: str, sort: str | None) -> str:
    """The text that is not understood with a mark under the place, on lines of their own."""
    position, text = error.problem.get("position"), query or sort
    if query and sort:  # the problem does not say which of the two it is about
        try:
            client.get("/v1/offers", q=query, limit=1)
        except ProblemError:
            text = query
        else:
            text = sort
    if not isinstance(position, int) or not text or not text.isprintable() or not 0 <= position <= len(text):
        return ""
    return f"\n  {text}\n  {' ' * position}^"


def _page(client: Client, query: str, sort: str | None, limit: int, *, explain: bool) -> Json:
    """The first `limit` offers as one page."""
    whole: Json = {}
    cursor = None
    while True:
        left = limit - len(whole.get("items", ()))
        page: Json = client.get(
            "/v1/offers",
            q=query or None,
            sort=sort,
            limit=min(left, PAGE),
            cursor=cursor,
            explain=1 if explain and not whole else None,
        )
        cursor = page["next_cursor"]
        whole = {**page, **whole, "items": [*whole.get("items", ()), *page["items"]], "next_cursor": cursor}
        if cursor is None or len(whole["items"]) >= limit or not page["items"]:
            return whole


def _table(page: Json, *, proofs: bool) -> None:
    from server import cli_words as words
    from server.cli_tables import table

    offers: Sequence[Json] = page["items"]
    figures = page["named"][:MOST_FIGURES] or [key for key in FIGURES if any(key in one["figures"] for one in offers)]
    sharing = any(one["count"] for one in offers)
    rows = [
        (
            str(one["node"]),
            one["name"],
            one["model"],
            *((f"{one['free']}/{one['count']}",) if sharing else ()),
            f"{one['cpus_free']:g}/{one['cpus']:g}",
            words.share(one["memory_free_bytes"], one["memory_bytes"]),
            f"{words.money(one['price_uh'])}/h",
            *(words.figure(one["figures"].get(key), page["at_ms"]) for key in figures),
            *((words.age_of(one["proof_age_s"]) if one["proved"] else ("unproven", "warn"),) if proofs else ()),
            one["region"],
            words.toned(one["standing"] if one["is_fresh"] else f"{one['standing']}, stale"),
        )
        for one in offers
    ]
    gpus = ("GPUS FREE",) if sharing else ()
    proved = ("PROVED",) if proofs else ()
    titles = ("NODE", "NAME", "MODEL", *gpus, "CPUS FREE", "MEMORY FREE", "PRICE", *figures, *proved, "REGION", "STATE")
    table(titles, rows, right=("NODE", *gpus, "CPUS FREE", "MEMORY FREE", "PRICE", *figures), stretch="MODEL")


def _say_more(page: Json, query: str, *, explain: bool) -> None:
    shown, count, why = len(page["items"]), page["count"], page["explanation"]
    if shown < count:
        say(f"{shown} of {count} shown; --limit shows more")
    if not count:
        say("no node matches" if query else "no node takes jobs now")
    if why is None:
        return
    if explain:
        for one in why["rejections"]:
            unknown = f", of {one['unknown']} of them it is not known" if one["unknown"] else ""
            say(f"{one['condition']}: rejects {one['nodes']} of {why['among']}{unknown}")
    if query and (explain or not count):
        say(why["sentence"])


def _print_fields(client: Client, *, as_json: bool) -> None:
    found = client.get("/v1/offers/fields")
    if as_json:
        print_json(found)
        return
    from server.cli_tables import heading, table

    with printing():
        table(
            ("FIELD", "KIND", "UNIT", "WHAT"),
            [(one["name"], one["kind"], one["unit"], one["about"]) for one in found["items"]],
        )
        heading("Functions")
        table(("FUNCTION", "WHAT"), sorted(found["functions"].items()))
