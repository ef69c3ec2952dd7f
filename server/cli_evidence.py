"""`gridmark verify-evidence`: judge again, on any machine, what a server judged."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli_shared import connect, fail, guarded, print_json, printing, say
from server.client import Client, Json

if TYPE_CHECKING:
    from qualify.proof.bundle import Result

_ID = re.compile(r"[0-9a-f]{32}")


@click.command("verify-evidence")
@click.argument("evidence", metavar="ID|FILE")
@click.option("--key", metavar="HEX", help="The server's public key, as you know it. [the evidence's own is believed]")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Keep the evidence in this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print each check as one JSON document.")
@guarded
def verify_evidence(evidence: str, key: str | None, save: Path | None, as_json: bool) -> None:
    """Judge a challenge's evidence again: the verdict by computing drawn parts anew, and that it is in the chain.

    ID is a challenge's, fetched from the server; FILE is evidence as --save or GET /v1/evidence/ID left it. No GPU is
    needed, and nobody is to be trusted: with --key the signature has to be that server's.

    Exit codes: 0 everything holds, 1 something does not, 2 usage, 3 it could not be read.

    Example: gridmark verify-evidence 5f2c6f0b7a0b4f5e9d3a1c8b2e4d6f70
    """
    content = _content(evidence)
    if save is not None:
        try:
            save.write_bytes(content)
        except OSError as error:
            fail(f"{save} cannot be written: {error.strerror}")
    result = _judged(content, key)
    if as_json:
        print_json(_document(result))
    else:
        with printing():
            _table(result)
        say("everything holds" if result.holds else "the evidence does not hold")
    sys.exit(0 if result.holds else 1)


def _content(evidence: str) -> bytes:
    path = Path(evidence)
    if path.is_file() or not _ID.fullmatch(evidence):
        try:
            return path.read_bytes()
        except OSError as error:
            fail(f"{evidence} is no challenge's id and cannot be read: {error.strerror}")
    with connect() as client:
        return _fetched(client, evidence)


def _fetched(client: Client, challenge: str) -> bytes:
    from qualify.proof import strict

    return strict.canonical(client.get(f"/v1/evidence/{challenge}"))


def _judged(content: bytes, key: str | None) -> Result:
    from qualify.proof import bundle, strict
    from qualify.proof.worker import run_worker

    try:
        known = None if key is None else strict.hexed(key, 32, "--key")
    except strict.ProtocolError as error:
        fail(str(error), 2)
    try:
        return bundle.verify_bundle(content.strip(), run_worker, public_key=known)
    except strict.ProtocolError as error:
        fail(f"this is no evidence: {error}")


def _document(result: Result) -> Json:
    from qualify.proof import evidence, verdict

    return {
        "holds": result.holds,
        "checks": [{"name": one.name, "holds": one.holds, "text": one.text} for one in result.checks],
        "entry": evidence.entry_to_json(result.entry),
        "verdict": verdict.to_json(result.verdict),
    }


def _table(result: Result) -> None:
    from reports import units
    from server import cli_words as words
    from server.cli_tables import facts, heading, table

    entry = result.entry
    facts(
        [
            ("challenge", entry.challenge.hex()),
            ("node", str(entry.node)),
            ("entry", f"{entry.seq} of the chain, {words.moment(entry.at_ms)}"),
            ("outcome", entry.verdict.outcome),
            ("why", units.plain(entry.verdict.why)),
        ]
    )
    if entry.verdict.figures:
        heading("Proved")
        rows = [
            (key, units.figure(one.value, one.unit), units.plus_minus(one.value, (one.low, one.high)))
            for key, one in sorted(entry.verdict.figures.items())
        ]
        table(("FIGURE", "VALUE", "95 %"), rows, right=("VALUE", "95 %"))
    heading("Checked")
    checks = [
        (one.name, ("holds", "good") if one.holds else ("DOES NOT HOLD", "bad"), one.text) for one in result.checks
    ]
    table(("CHECK", "RESULT", "WHAT"), checks, stretch="WHAT")
